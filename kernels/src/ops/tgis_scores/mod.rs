//! `tgis_scores`: how much each slice counts for this question (paper, Eq. 6).
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// `scores = softmax_j(keys[j] · guide / temperature)`, all in f32 or better.
///
/// Where any key or the guide holds NaN or an infinity, every score is NaN: none looks as if it were one.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, keys have no columns, or the temperature is not
/// positive.
pub struct TgisScores<'a> {
    /// `[slices, dim]`, f32; see [`super::SliceKeys`].
    pub keys: View<'a>,
    /// `[1, dim]`: the projected question z_t, or the learned scorer of the text-free variants.
    pub guide: View<'a>,
    /// 5 for the released connector, 1 for the paper's.
    pub temperature: f32,
    /// `[slices]`, f32.
    pub scores: ViewMut<'a>,
}

impl TgisScores<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.keys, &self.guide], &[&self.scores], 2 * self.keys.dims().count())
    }

    /// Checks the contract; gives `dim`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("tgis_scores");
        dims.typed("keys", &self.keys, DType::F32, &["slices", "dim"])?;
        dims.bind("guide", "1", 1)?;
        dims.input("guide", &self.guide, &["1", "dim"])?;
        dims.output("scores", &self.scores, &["slices"])?;
        dims.require(self.scores.dtype() == DType::F32, || {
            format!("scores hold {:?}, wanted F32", self.scores.dtype())
        })?;
        dims.require(self.temperature > 0.0, || format!("temperature is {}, wanted > 0", self.temperature))?;
        dims.require(dims.size("dim") > 0, || "keys have no columns".into())?;
        Ok(dims.size("dim"))
    }
}
