//! Runs CUDA C++ kernels on the CPU, one fiber per CUDA thread.
