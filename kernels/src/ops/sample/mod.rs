//! `sample`: the next token of each row from its logits.
use crate::{DType, DimCheck, NON_FINITE, Result, View, ViewMut, Work};

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

/// What one row of a call does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// How its token is chosen.
    pub sampling: Sampling,
    /// Which draw of its request this is: 0 for the first token.
    pub step: u64,
    /// The token, where the caller names it; then the op only looks whether the logits are finite.
    pub given: Option<u32>,
}

impl Choice {
    /// u32 values that hold one on a device.
    pub const WORDS: usize = 8;

    /// As a device reads it: temperature, top-k, top-p, the given id or [`crate::NON_FINITE`], seed, step; low halves
    /// before high ones.
    pub fn words(&self) -> [u32; Self::WORDS] {
        let Self { sampling: Sampling { temperature, top_k, top_p, seed }, step, given } = *self;
        let given = given.unwrap_or(NON_FINITE);
        let [seed, seed_high] = [seed as u32, (seed >> 32) as u32];
        let [step, step_high] = [step as u32, (step >> 32) as u32];
        [temperature.to_bits(), top_k, top_p.to_bits(), given, seed, seed_high, step, step_high]
    }

    /// The inverse of [`Choice::words`].
    pub(crate) fn of_words(words: &[u32]) -> Self {
        let wide = |at: usize| u64::from(words[at]) | u64::from(words[at + 1]) << 32;
        let [temperature, top_p] = [words[0], words[2]].map(f32::from_bits);
        let given = (words[3] != NON_FINITE).then_some(words[3]);
        Self { sampling: Sampling { temperature, top_k: words[1], top_p, seed: wide(4) }, step: wide(6), given }
    }
}

/// Draws each row of `out` from `softmax(logits / temperature)`, cut to top-k, then to top-p.
///
/// Ties are ordered by id. Where any logit of a row is NaN or infinite, its `out` is [`crate::NON_FINITE`]. The draw is
/// the first 32 bits of Philox-4x32-10 at counter `step`, key `seed`. Devices differ only where a draw or the share of
/// top-p falls within 2^-21 of a boundary between two tokens. No row depends on another.
///
/// What `choices` holds is looked at when the op runs, so that a recorded step can draw: a row whose [`Sampling`] has a
/// [fault](Sampling::fault) is [`crate::NON_FINITE`].
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct Sample<'a> {
    /// `[rows, vocab]`, f32.
    pub logits: View<'a>,
    /// `[rows, 8]`, u32: each row's [`Choice::words`].
    pub choices: View<'a>,
    /// `[rows]`, u32.
    pub out: ViewMut<'a>,
}

impl Sample<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        Work::of(&[&self.logits, &self.choices], &[&self.out], self.logits.dims().count())
    }

    /// Checks the contract; gives rows and vocab.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<[usize; 2]> {
        let mut dims = DimCheck::new("sample");
        dims.bind("choices", "words", Choice::WORDS)?;
        dims.typed("logits", &self.logits, DType::F32, &["rows", "vocab"])?;
        dims.typed("choices", &self.choices, DType::U32, &["rows", "words"])?;
        dims.output("out", &self.out, &["rows"])?;
        dims.require(self.out.dtype() == DType::U32, || format!("out holds {:?}, wanted U32", self.out.dtype()))?;
        let rows = dims.size("rows");
        let vocab = dims.size("vocab");
        dims.require(vocab > 0, || "no logits".into())?;
        dims.require(u32::try_from(vocab).is_ok(), || format!("{vocab} logits, more than there are ids"))?;
        Ok([rows, vocab])
    }
}
