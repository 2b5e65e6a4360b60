//! Stage and op timings; results as data files.
//!
//! `cargo run --release -p benches --bin ops` times each op at the released model's sizes on any device, with its
//! bytes, operations and shares of the device's limits; `cargo bench -p benches` does so on the CPU with criterion, to
//! compare commits. `cargo run --release -p benches --bin profile -- MODEL` times every op that the engine calls and
//! adds the stages up; `benches/pytorch_stages.py` times the same stages in PyTorch, for a comparison in one sitting.
#![forbid(unsafe_code)]
pub mod cold;
pub mod inputs;
pub mod machine;
pub mod ops;
