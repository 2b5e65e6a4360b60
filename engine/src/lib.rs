//! Med-2E3 itself, written once over the Device trait.
#![forbid(unsafe_code)]

mod error;
pub mod prompt;
pub mod sampling;

pub use error::{Error, Result};
