//! `attention_paged`: causal attention of new tokens over the paged KV cache.
use crate::{DType, DimCheck, PAGE_TOKENS, Result, View, ViewMut};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// `out = softmax(q · kᵀ · scale) · v`; row r sees the cached tokens at positions `0..=positions[r]`.
///
/// Serves prefill (many rows) and decode (one row; on a GPU up to 16, split over pages, so that a decoding row gets the
/// same bits alone and in a batch). Query head h reads key head `h / (heads / kv_heads)`. Softmax statistics and sums
/// are f32. Token p of the sequence lies at row `p % 64` of page `block_table[p / 64]`.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, or head_dim exceeds 128 on a GPU. Page numbers and
/// positions are the engine's own: the CPU asserts them, a GPU has nobody to report them to.
pub struct AttentionPaged<'a> {
    /// `[rows, heads·head_dim]`, activations, rotated.
    pub q: View<'a>,
    /// `[pages·kv_heads, 64, head_dim]`: head `h` of page `p` at `p·kv_heads + h`; activations.
    pub k_pages: View<'a>,
    /// As `k_pages`.
    pub v_pages: View<'a>,
    /// `[logical pages]`, u32: which page holds tokens `64·i..64·i+64`.
    pub block_table: View<'a>,
    /// `[rows]`, u32: each row's position in the sequence, ascending by one.
    pub positions: View<'a>,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Factor on the scores.
    pub scale: f32,
    /// `[rows, heads·head_dim]`, activations.
    pub out: ViewMut<'a>,
}

/// The sizes of a checked call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// New tokens.
    pub rows: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Physical pages in the cache.
    pub pages: usize,
}

impl AttentionPaged<'_> {
    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        let mut dims = DimCheck::new("attention_paged");
        dims.bind("page", "page tokens", PAGE_TOKENS)?;
        dims.input("k_pages", &self.k_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
        dims.input("v_pages", &self.v_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
        dims.bind("q", "heads·head_dim", self.heads * dims.size("head_dim"))?;
        dims.input("q", &self.q, &["rows", "heads·head_dim"])?;
        dims.output("out", &self.out, &["rows", "heads·head_dim"])?;
        dims.typed("block_table", &self.block_table, DType::U32, &["logical pages"])?;
        dims.typed("positions", &self.positions, DType::U32, &["rows"])?;
        dims.require(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), || {
            format!("{} heads do not share {} key heads evenly", self.heads, self.kv_heads)
        })?;
        let pages = dims.size("pages·kv_heads");
        dims.require(pages.is_multiple_of(self.kv_heads), || {
            format!("{pages} page heads do not divide by {} key heads", self.kv_heads)
        })?;
        Ok(Shape { rows: dims.size("rows"), head_dim: dims.size("head_dim"), pages: pages / self.kv_heads })
    }
}
