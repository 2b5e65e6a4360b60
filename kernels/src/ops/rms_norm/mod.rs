//! `rms_norm`: x / √(mean of squares + eps) · weight, one row per token.
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// `out = x / sqrt(mean(x²) + eps) * weight` for each row.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct RmsNorm<'a> {
    /// `[rows, dim]`, activations.
    pub x: View<'a>,
    /// `[dim]`.
    pub weight: View<'a>,
    /// Added to the mean square; 1e-5 for Phi-3.
    pub eps: f32,
    /// `[rows, dim]`, activations.
    pub out: ViewMut<'a>,
}

impl RmsNorm<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.x, &self.weight], &[&self.out], 4 * self.x.dims().count())
    }

    /// Checks the contract; gives `dim`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("rms_norm");
        dims.input("x", &self.x, &["rows", "dim"])?;
        dims.input("weight", &self.weight, &["dim"])?;
        dims.output("out", &self.out, &["rows", "dim"])?;
        Ok(dims.size("dim"))
    }
}
