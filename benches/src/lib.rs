//! Stage and op timings; results as data files.
//!
//! `cargo bench -p benches` times each op at the released model's sizes. `cargo run --release -p benches --bin stages`
//! times every op of encode, prefill and decode and adds the stages up; `benches/pytorch_stages.py` does the same
//! with PyTorch for a comparison in one sitting.
#![forbid(unsafe_code)]
pub mod inputs;
