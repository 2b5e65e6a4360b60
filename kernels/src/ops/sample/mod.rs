//! `sample`: the next token from the logits.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod philox;
#[cfg(test)]
mod tests;

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the largest logit, the lowest id among equals; otherwise the logits are divided by it.
    pub temperature: f32,
    /// Only the `k` most likely tokens; 0 for all.
    pub top_k: u32,
    /// Only the fewest most likely tokens whose probabilities reach this sum; 1 for all.
    pub top_p: f32,
    /// Seed of the counter-based generator: the same seed, step and logits give the same token.
    pub seed: u64,
}

impl Sampling {
    /// The most likely token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };

    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        let Self { temperature, top_p, .. } = self;
        if !(temperature.is_finite() && *temperature >= 0.0) {
            return Some(format!("temperature is {temperature}, wanted a finite number, 0 or more"));
        }
        if !(*top_p > 0.0 && *top_p <= 1.0) {
            return Some(format!("top_p is {top_p}, wanted above 0 and at most 1"));
        }
        None
    }
}

/// Draws `out` from `softmax(logits / temperature)`, cut to top-k, then to top-p.
///
/// Ties are ordered by id. Where any logit is NaN or infinite, `out` is [`crate::NON_FINITE`]. The draw is the first 32
/// bits of Philox-4x32-10 at counter `step`, key `seed`. Devices differ only where a draw or the share of top-p falls
/// within 2^-21 of a boundary between two tokens.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, temperature is negative or not finite, or top-p
/// is outside (0, 1].
pub struct Sample<'a> {
    /// `[1, vocab]`, f32.
    pub logits: View<'a>,
    /// How to choose.
    pub sampling: Sampling,
    /// Which draw of this request: 0 for its first token.
    pub step: u64,
    /// `[1]`, u32.
    pub out: ViewMut<'a>,
}

impl Sample<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.logits], &[&self.out], self.logits.dims().count())
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<()> {
        let mut dims = DimCheck::new("sample");
        dims.bind("out", "1", 1)?;
        dims.typed("logits", &self.logits, DType::F32, &["1", "vocab"])?;
        dims.output("out", &self.out, &["1"])?;
        dims.require(self.out.dtype() == DType::U32, || format!("out holds {:?}, wanted U32", self.out.dtype()))?;
        let vocab = dims.size("vocab");
        dims.require(vocab > 0, || "no logits".into())?;
        dims.require(u32::try_from(vocab).is_ok(), || format!("{vocab} logits, more than there are ids"))?;
        let fault = self.sampling.fault();
        dims.require(fault.is_none(), || fault.unwrap_or_default())
    }
}
