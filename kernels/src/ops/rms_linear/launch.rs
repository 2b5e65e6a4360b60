//! The kernels of `linear` for few rows, with a norm in front.
use super::RmsLinear;
use crate::Result;
use crate::gpu::{Gpu, Kernel, kernel};
use crate::ops::Epilogue;
use crate::ops::linear::few::{self, Norm};

const PLAIN: [Kernel; 2] = [kernel!(rms_linear_any_none_kernel, 256), kernel!(rms_linear_none_kernel, 256)];
const GATED: [Kernel; 2] = [kernel!(rms_linear_any_swiglu_kernel, 256), kernel!(rms_linear_swiglu_kernel, 256)];

pub(crate) fn run(gpu: &Gpu, op: RmsLinear<'_>) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("rms_linear")?;
    let norm = Norm { weight: op.norm, eps: op.eps };
    let x = op.x;
    let kernels: &'static [Kernel; 2] = if op.epilogue == Epilogue::SwiGlu { &GATED } else { &PLAIN };
    few::launch(gpu, args, op.product(x), shape, Some(norm), |vectors| &kernels[usize::from(vectors)])
}
