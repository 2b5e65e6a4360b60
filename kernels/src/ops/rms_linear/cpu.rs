//! The norm, then the product.
use super::RmsLinear;
use crate::ops::{RmsNorm, linear, rms_norm};
use crate::{Cpu, Device, Precision, Result, Tensor, View};

pub(crate) fn run(op: RmsLinear<'_>, precision: Precision) -> Result<()> {
    op.check()?;
    let normed = normed(op.x, op.norm, op.eps)?;
    linear::cpu::run(op.product(normed.view()), precision)
}

/// The RMS norm of `x` in memory of its own.
pub(crate) fn normed(x: View<'_>, weight: View<'_>, eps: f32) -> Result<Tensor> {
    let mut out = buffer(x.dims().as_slice())?;
    rms_norm::cpu::run(RmsNorm { x, weight, eps, out: out.view_mut() })?;
    Ok(out)
}

/// Activations between two parts of a fused op.
pub(crate) fn buffer(dims: &[usize]) -> Result<Tensor> {
    let cpu: &dyn Device = &Cpu { precision: Precision::Exact };
    cpu.activations(dims)
}
