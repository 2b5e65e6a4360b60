//! The place of the CUDA emulator. Nothing is here yet, and nothing depends on this crate.
//!
//! It will run the engine's CUDA C++ kernels on the CPU, one fiber per CUDA thread, to test them without a GPU. It will
//! know nothing of the engine.
