//! `rms_linear_argmax`: the greedy token of each row, for the few rows of a decoding step.
use crate::ops::rms_linear::require_few;
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
pub(crate) mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out = argmax(rms_norm(x) · Wᵀ)`, the lowest id among equals: [`crate::ops::RmsLinear`] and a greedy
/// [`crate::ops::Sample`], without the logits. A row with a logit that is NaN or infinite gives [`crate::NON_FINITE`].
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, there are more than [`crate::DECODE_ROWS_MAX`]
/// rows, or x has no columns.
pub struct RmsLinearArgmax<'a> {
    /// `[rows, in]`, activations; 16 rows at most.
    pub x: View<'a>,
    /// `[in]`: the norm's weight.
    pub norm: View<'a>,
    /// Added to the mean square; 1e-5 for Phi-3.
    pub eps: f32,
    /// `[vocab, in]`; f32, f16 or bf16.
    pub weight: View<'a>,
    /// `[rows, candidates]`, u32, as many candidates as [`candidates`] says: room that the op may use as it likes.
    pub scratch: ViewMut<'a>,
    /// `[rows]`, u32.
    pub out: ViewMut<'a>,
}

/// Numbers of scratch per row for `vocab` tokens: the best logit and its id of each sixteen.
pub const fn candidates(vocab: usize) -> usize {
    2 * vocab.div_ceil(16)
}

impl RmsLinearArgmax<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.x.dims().as_slice()[0];
        let flops = 4 * self.x.dims().count() + 2 * rows * self.weight.dims().count();
        Work::of(&[&self.x, &self.norm, &self.weight], &[&self.out], flops)
    }

    /// Checks the contract; gives rows and vocab.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<[usize; 2]> {
        let mut dims = DimCheck::new("rms_linear_argmax");
        dims.input("x", &self.x, &["rows", "in"])?;
        dims.input("norm", &self.norm, &["in"])?;
        dims.input("weight", &self.weight, &["vocab", "in"])?;
        let [rows, vocab] = ["rows", "vocab"].map(|name| dims.size(name));
        dims.bind("vocab", "candidates", candidates(vocab))?;
        dims.output("scratch", &self.scratch, &["rows", "candidates"])?;
        dims.output("out", &self.out, &["rows"])?;
        for (name, dtype) in [("scratch", self.scratch.dtype()), ("out", self.out.dtype())] {
            dims.require(dtype == DType::U32, || format!("{name} holds {dtype:?}, wanted U32"))?;
        }
        require_few(&dims)?;
        dims.require(vocab > 0, || "no logits".into())?;
        Ok([rows, vocab])
    }
}
