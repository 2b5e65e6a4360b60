//! Shared helpers of the whole-engine tests.
#![forbid(unsafe_code)]

pub mod fuzz;
pub mod golden;
pub mod plant;
pub mod schedule;
pub mod tidy;
mod together;

pub use together::together;
