//! `slice_combine`: the weighted sum of the slices' tokens (paper, Eq. 7).
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[i] = Σ_j scores[j] · z_2d_slices[j, i]`.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct SliceCombine<'a> {
    /// `[slices, tokens, dim]`, activations.
    pub z_2d_slices: View<'a>,
    /// `[slices]`, f32.
    pub scores: View<'a>,
    /// `[tokens, dim]`, activations; the paper's z_2D.
    pub out: ViewMut<'a>,
}

impl SliceCombine<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.z_2d_slices, &self.scores], &[&self.out], 2 * self.z_2d_slices.dims().count())
    }

    /// Checks the contract; gives the elements of one slice.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("slice_combine");
        dims.input("z_2d_slices", &self.z_2d_slices, &["slices", "tokens", "dim"])?;
        dims.typed("scores", &self.scores, DType::F32, &["slices"])?;
        dims.output("out", &self.out, &["tokens", "dim"])?;
        Ok(dims.size("tokens") * dims.size("dim"))
    }
}
