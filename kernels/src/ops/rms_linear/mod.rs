//! `rms_linear`: an RMS norm and the product behind it, for the few rows of a decoding step.
use crate::ops::linear::{Shape, check_product};
use crate::ops::{Epilogue, Linear};
use crate::{DECODE_ROWS_MAX, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out = epilogue(rms_norm(x) · Wᵀ)`: [`crate::ops::RmsNorm`], then [`Linear`], without the buffer between them.
///
/// Accumulates in f32 or better. A GPU rounds x · norm to bf16 and divides the sums by the root mean square; the CPU
/// gives the bits of the two ops.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, there are more than [`DECODE_ROWS_MAX`] rows, x
/// has no columns, or the epilogue is neither [`Epilogue::None`] nor [`Epilogue::SwiGlu`].
pub struct RmsLinear<'a> {
    /// `[rows, in]`, activations; 16 rows at most.
    pub x: View<'a>,
    /// `[in]`: the norm's weight.
    pub norm: View<'a>,
    /// Added to the mean square; 1e-5 for Phi-3.
    pub eps: f32,
    /// `[out, in]`, or `[2·out, in]` for SwiGLU; f32, f16 or bf16.
    pub weight: View<'a>,
    /// `None` or `SwiGlu`.
    pub epilogue: Epilogue,
    /// `[rows, out]`, activations, or f32 (logits).
    pub out: ViewMut<'a>,
}

impl<'a> RmsLinear<'a> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.x.dims().as_slice()[0];
        let old = if self.epilogue == Epilogue::Residual { self.out.bytes() } else { 0 };
        let flops = 4 * self.x.dims().count() + 2 * rows * self.weight.dims().count();
        Work::of(&[&self.x, &self.norm, &self.weight], &[&self.out], flops).and_bytes(old)
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        let (mut dims, shape) = check_product("rms_linear", [&self.x, &self.weight], &None, self.epilogue, &self.out)?;
        dims.input("norm", &self.norm, &["in"])?;
        require_few(&dims)?;
        let epilogue = self.epilogue;
        dims.require(matches!(epilogue, Epilogue::None | Epilogue::SwiGlu), || {
            format!("the epilogue is {epilogue:?}, wanted None or SwiGlu")
        })?;
        Ok(shape)
    }

    /// The product alone, of another x.
    pub(crate) fn product<'b>(self, x: View<'b>) -> Linear<'b>
    where
        'a: 'b,
    {
        Linear { x, weight: self.weight, bias: None, epilogue: self.epilogue, out: self.out }
    }
}

/// Refuses more rows than a fused op takes, and rows of nothing, which have no root mean square.
pub(crate) fn require_few(dims: &crate::DimCheck) -> Result<()> {
    let rows = dims.size("rows");
    dims.require(rows <= DECODE_ROWS_MAX, || format!("x has {rows} rows, at most {DECODE_ROWS_MAX} are fused"))?;
    dims.require(dims.size("in") > 0, || "x has no columns".into())
}
