//! `layer_norm`: (x − mean) / √(variance + eps) · weight + bias, one row per token.
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// `out = (x - mean) / sqrt(variance + eps) * weight + bias` for each row; the variance is that of the population.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct LayerNorm<'a> {
    /// `[rows, dim]`, activations.
    pub x: View<'a>,
    /// `[dim]`.
    pub weight: View<'a>,
    /// `[dim]`.
    pub bias: View<'a>,
    /// Added to the variance: 1e-5 for the 3D ViT, 1e-6 for SigLIP, 1e-12 for BERT.
    pub eps: f32,
    /// `[rows, dim]`, activations.
    pub out: ViewMut<'a>,
}

impl LayerNorm<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.x, &self.weight, &self.bias], &[&self.out], 8 * self.x.dims().count())
    }

    /// Checks the contract; gives `dim`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("layer_norm");
        dims.input("x", &self.x, &["rows", "dim"])?;
        dims.input("weight", &self.weight, &["dim"])?;
        dims.input("bias", &self.bias, &["dim"])?;
        dims.output("out", &self.out, &["rows", "dim"])?;
        Ok(dims.size("dim"))
    }
}
