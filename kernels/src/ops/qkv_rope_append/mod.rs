//! `qkv_rope_append`: splits the fused projection, rotates queries and keys, appends keys and values to the cache.
use crate::ops::attention_paged::check_tables;
use crate::{DType, DimCheck, PAGE_TOKENS, Result, View, ViewMut};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// Rotary embedding in the half-split form: pair (i, i + head_dim/2) turns by the angle of `cos[p, i]`, `sin[p, i]`
/// at position p = `positions[r]`. `q` leaves rotated; rotated k and plain v go to the row's sequence's
/// page `block_table[p / 64]`, row `p % 64`.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below. Page numbers and positions are the engine's own
/// and asserted.
pub struct QkvRopeAppend<'a> {
    /// `[rows, (heads + 2·kv_heads)·head_dim]`, activations: queries, keys, values.
    pub qkv: View<'a>,
    /// `[positions, head_dim/2]`, f32; any attention factor is already in it.
    pub cos: View<'a>,
    /// As `cos`.
    pub sin: View<'a>,
    /// `[rows]`, u32: each row's position in its sequence.
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

impl QkvRopeAppend<'_> {
    /// Checks the contract; gives `head_dim`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("qkv_rope_append");
        let (angles, places) = ([&self.cos, &self.sin], [&self.positions, &self.block_table]);
        let pages = [&self.k_pages, &self.v_pages];
        let head_dim = check_heads(&mut dims, angles, places, [self.heads, self.kv_heads], pages)?;
        dims.input("qkv", &self.qkv, &["rows", "(heads + 2·kv_heads)·head_dim"])?;
        dims.output("q", &self.q, &["rows", "heads·head_dim"])?;
        Ok(head_dim)
    }
}

/// Checks the part of a contract that is rotation and cache; gives `head_dim`.
pub(crate) fn check_heads(
    dims: &mut DimCheck,
    [cos, sin]: [&View<'_>; 2],
    [positions, block_table]: [&View<'_>; 2],
    [heads, kv_heads]: [usize; 2],
    [k_pages, v_pages]: [&ViewMut<'_>; 2],
) -> Result<usize> {
    dims.bind("page", "page tokens", PAGE_TOKENS)?;
    dims.output("k_pages", k_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
    dims.output("v_pages", v_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
    let head_dim = dims.size("head_dim");
    dims.require(head_dim.is_multiple_of(2), || format!("head_dim is {head_dim}, wanted an even number"))?;
    dims.bind("head_dim", "head_dim/2", head_dim / 2)?;
    dims.typed("cos", cos, DType::F32, &["positions", "head_dim/2"])?;
    dims.typed("sin", sin, DType::F32, &["positions", "head_dim/2"])?;
    dims.typed("positions", positions, DType::U32, &["rows"])?;
    check_tables(dims, block_table)?;
    dims.bind("heads", "heads·head_dim", heads * head_dim)?;
    dims.bind("heads", "(heads + 2·kv_heads)·head_dim", (heads + 2 * kv_heads) * head_dim)?;
    Ok(head_dim)
}
