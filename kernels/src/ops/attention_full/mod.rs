//! `attention_full`: bidirectional attention within each sequence of a batch.
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
pub(crate) mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
pub(crate) mod tests;

/// `out = softmax(q · kᵀ · scale) · v` per sequence and head; every token sees every token of its sequence.
///
/// Softmax statistics and sums are f32. q, k and v may be column windows of one packed tensor.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, or head_dim exceeds 128 on a GPU.
pub struct AttentionFull<'a> {
    /// `[sequences·tokens, heads·head_dim]`, activations.
    pub q: View<'a>,
    /// As `q`.
    pub k: View<'a>,
    /// As `q`.
    pub v: View<'a>,
    /// Equal-sized sequences in the batch.
    pub sequences: usize,
    /// Attention heads; `head_dim` follows.
    pub heads: usize,
    /// Factor on the scores, 1/√head_dim for every network here.
    pub scale: f32,
    /// `[sequences·tokens, heads·head_dim]`, activations.
    pub out: ViewMut<'a>,
}

/// The sizes of a checked call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Tokens of one sequence.
    pub tokens: usize,
    /// Columns of one head.
    pub head_dim: usize,
}

impl AttentionFull<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.q.dims().as_slice()[0];
        let flops = 4 * self.q.dims().count() * (rows / self.sequences.max(1));
        Work::of(&[&self.q, &self.k, &self.v], &[&self.out], flops)
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        let mut dims = DimCheck::new("attention_full");
        dims.input("q", &self.q, &["rows", "hidden"])?;
        dims.input("k", &self.k, &["rows", "hidden"])?;
        dims.input("v", &self.v, &["rows", "hidden"])?;
        dims.output("out", &self.out, &["rows", "hidden"])?;
        let rows = dims.size("rows");
        let hidden = dims.size("hidden");
        dims.require(self.sequences > 0 && rows.is_multiple_of(self.sequences), || {
            format!("{rows} rows do not divide into {} sequences", self.sequences)
        })?;
        dims.require(self.heads > 0 && hidden.is_multiple_of(self.heads), || {
            format!("{hidden} columns do not divide into {} heads", self.heads)
        })?;
        Ok(Shape { tokens: rows / self.sequences, head_dim: hidden / self.heads })
    }
}
