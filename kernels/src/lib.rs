//! Device memory, the `Device` trait and one folder per fused op.
//!
//! An op is a struct of borrowed inputs and one or more outputs; its folder `ops/<op>/` holds the contract
//! (`mod.rs`), the plain f64 definition (`reference.rs`), what the CPU runs (`cpu.rs`) and the tests. A
//! [`Device`] runs ops in order. [`Cpu`] is the device that every machine has.
#![allow(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod check;
pub mod cpu;
pub mod device;
pub mod dtype;
pub mod error;
pub mod gpu;
#[cfg(test)]
mod mutants;
pub mod ops;
pub mod plan;
#[cfg(test)]
mod primitives;
pub mod profile;
pub mod shadow;
pub mod tensor;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod testing_gpu;
#[cfg(test)]
mod traffic;
mod work;

pub use check::DimCheck;
pub use cpu::{Cpu, Precision};
pub use device::{Device, Graph, HostTensor};
pub use dtype::{DType, Elem};
pub use error::{Error, Result};
pub use gpu::{Emulation, Gpu, GpuReport};
pub use plan::Plan;
pub use profile::Profile;
pub use shadow::Shadow;
pub use tensor::{Dims, Mem, Space, Tensor, View, ViewMut};
pub use work::Work;

/// The most rows of a decoding step. Up to here products stream their weights and fused ops exist, on every device; the
/// engine runs more rows in turns.
pub const DECODE_ROWS_MAX: usize = 16;

/// Tokens in one page of the KV cache.
pub const PAGE_TOKENS: usize = 64;

/// What [`ops::Sample`] and [`ops::RmsLinearArgmax`] give in the place of an id where a logit is NaN or infinite. No
/// vocabulary has this many tokens.
pub const NON_FINITE: u32 = u32::MAX;
