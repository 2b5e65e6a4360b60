//! `log_probs`: log-probabilities of given tokens and of the most likely ones.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out = log softmax(logits)`, for the `count` tokens that `ids` names in each row, then for the `ranks` most likely
/// ones, whose ids go to `top`: the best first, of equal ones the lowest id.
///
/// Sums are f64, so that every value is within one f32 rounding of the exact one. What `ids` holds is looked at when
/// the op runs: an id that the vocabulary does not have gets NaN. Where a logit of a row is NaN or infinite, and behind
/// the last token of a vocabulary of fewer than `ranks`, `top` is [`crate::NON_FINITE`] and `out` NaN. No row depends
/// on another.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct LogProbs<'a> {
    /// `[rows, vocab]`, f32.
    pub logits: View<'a>,
    /// `[rows, count]`, u32.
    pub ids: View<'a>,
    /// `[rows, ranks]`, u32.
    pub top: ViewMut<'a>,
    /// `[rows, count + ranks]`, f32.
    pub out: ViewMut<'a>,
}

/// The sizes of a checked call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of logits.
    pub rows: usize,
    /// Tokens of the vocabulary.
    pub vocab: usize,
    /// Tokens that are named in each row.
    pub count: usize,
    /// Most likely tokens that are wanted of each row.
    pub ranks: usize,
}

impl LogProbs<'_> {
    /// The least that the call must move and compute: an exponential, counted as one operation, and a sum.
    pub fn work(&self) -> Work {
        Work::of(&[&self.logits, &self.ids], &[&self.top, &self.out], 2 * self.logits.dims().count())
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        let mut dims = DimCheck::new("log_probs");
        dims.typed("logits", &self.logits, DType::F32, &["rows", "vocab"])?;
        dims.typed("ids", &self.ids, DType::U32, &["rows", "count"])?;
        dims.output("top", &self.top, &["rows", "ranks"])?;
        let [rows, vocab, count, ranks] = ["rows", "vocab", "count", "ranks"].map(|name| dims.size(name));
        dims.bind("ids and top", "count + ranks", count + ranks)?;
        dims.output("out", &self.out, &["rows", "count + ranks"])?;
        for (name, output, wanted) in [("top", &self.top, DType::U32), ("out", &self.out, DType::F32)] {
            let found = output.dtype();
            dims.require(found == wanted, || format!("{name} holds {found:?}, wanted {wanted:?}"))?;
        }
        dims.require(vocab > 0, || "no logits".into())?;
        dims.require(u32::try_from(vocab).is_ok(), || format!("{vocab} logits, more than there are ids"))?;
        Ok(Shape { rows, vocab, count, ranks })
    }
}
