//! `slice_max`: the largest value over slices, element by element (paper, Table 4's MaxPooling).
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[i] = max_j z_2d_slices[j, i]`, exact; NaN where one of several slices is NaN or infinite.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or there is no slice.
pub struct SliceMax<'a> {
    /// `[slices, tokens, dim]`, activations.
    pub z_2d_slices: View<'a>,
    /// `[tokens, dim]`, activations.
    pub out: ViewMut<'a>,
}

impl SliceMax<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.z_2d_slices], &[&self.out], self.z_2d_slices.dims().count())
    }

    /// Checks the contract; gives the elements of one slice.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("slice_max");
        dims.input("z_2d_slices", &self.z_2d_slices, &["slices", "tokens", "dim"])?;
        dims.output("out", &self.out, &["tokens", "dim"])?;
        dims.require(dims.size("slices") > 0, || "no slices".into())?;
        Ok(dims.size("tokens") * dims.size("dim"))
    }
}
