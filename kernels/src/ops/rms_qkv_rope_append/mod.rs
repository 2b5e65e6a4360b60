//! `rms_qkv_rope_append`: an attention block's beginning, for the few rows of a decoding step.
use crate::ops::qkv_rope_append::{Heads, check_heads};
use crate::ops::rms_linear::require_few;
use crate::{DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// [`crate::ops::RmsNorm`], the fused projection of [`crate::ops::Linear`], then [`crate::ops::QkvRopeAppend`], without
/// the buffers between them.
///
/// Accumulates in f32 or better. A GPU rounds x · norm to bf16 and the rotated values once, at the store; the CPU gives
/// the bits of the three ops. Rows without a place in the cache are those of [`crate::ops::QkvRopeAppend`].
///
/// # Errors
/// As [`crate::ops::QkvRopeAppend`]'s, and if there are more than [`crate::DECODE_ROWS_MAX`] rows or x has no columns.
pub struct RmsQkvRopeAppend<'a> {
    /// `[rows, in]`, activations; 16 rows at most.
    pub x: View<'a>,
    /// `[in]`: the norm's weight.
    pub norm: View<'a>,
    /// Added to the mean square; 1e-5 for Phi-3.
    pub eps: f32,
    /// `[(heads + 2·kv_heads)·head_dim, in]`: queries, keys, values; f32, f16 or bf16.
    pub weight: View<'a>,
    /// `[positions, head_dim/2]`, f32; any attention factor is already in it.
    pub cos: View<'a>,
    /// As `cos`.
    pub sin: View<'a>,
    /// `[rows]`, u32: each row's position in its sequence; ascending by one where all are of one.
    pub positions: View<'a>,
    /// `[logical pages]` of the sequence of all rows, or `[rows, logical pages]`, a sequence for each row; u32.
    pub block_table: View<'a>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// `[rows, heads·head_dim]`, activations.
    pub q: ViewMut<'a>,
    /// `[pages·kv_heads, 64, head_dim]`: head `h` of page `p` at `p·kv_heads + h`; activations.
    pub k_pages: ViewMut<'a>,
    /// As `k_pages`.
    pub v_pages: ViewMut<'a>,
}

impl RmsQkvRopeAppend<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.x.dims().as_slice()[0];
        let [_, _, head_dim] = *self.k_pages.dims().as_slice() else { return Work::default() };
        let stored = 2 * rows * self.kv_heads * head_dim * self.k_pages.dtype().bytes();
        let angles = rows * head_dim * size_of::<f32>();
        let rotation = 3 * rows * (self.heads + self.kv_heads) * head_dim;
        let flops = 4 * self.x.dims().count() + 2 * rows * self.weight.dims().count() + rotation;
        let inputs = [&self.x, &self.norm, &self.weight, &self.positions];
        Work::of(&inputs, &[&self.q], flops).and_bytes(stored + angles)
    }

    /// Checks the contract; gives the sizes of heads and cache.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Heads> {
        let mut dims = DimCheck::new("rms_qkv_rope_append");
        let angles = [&self.cos, &self.sin];
        let places = [&self.positions, &self.block_table];
        let pages = [&self.k_pages, &self.v_pages];
        let heads = check_heads(&mut dims, angles, places, [self.heads, self.kv_heads], pages)?;
        dims.input("x", &self.x, &["rows", "in"])?;
        dims.input("norm", &self.norm, &["in"])?;
        dims.input("weight", &self.weight, &["(heads + 2·kv_heads)·head_dim", "in"])?;
        dims.output("q", &self.q, &["rows", "heads·head_dim"])?;
        require_few(&dims)?;
        Ok(heads)
    }
}
