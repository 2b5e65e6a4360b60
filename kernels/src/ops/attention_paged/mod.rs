//! `attention_paged`: causal attention of new tokens over the paged KV cache.
use crate::{DECODE_ROWS_MAX, DType, DimCheck, PAGE_TOKENS, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// `out = softmax(q · kᵀ · scale) · v`; row r sees the cached tokens at positions `0..=positions[r]`.
///
/// Serves prefill (many rows of one sequence) and decode (one row of each of up to 16 sequences; a GPU splits up to 16
/// rows over pages, so that a decoding row gets the same bits alone and in a batch).
/// Query head h reads key head `h / (heads / kv_heads)`. Softmax statistics and sums are f32.
/// Token p of a sequence lies at row `p % 64` of page `block_table[p / 64]`.
///
/// What `positions` and `block_table` hold is looked at when the op runs. A row is NaN, on every device, if
/// `block_table` does not cover its position or a page up to there is not one of the cache; other rows do not change.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, more than [`crate::DECODE_ROWS_MAX`] rows have
/// sequences of their own, the key heads divide neither the heads nor the cache, or head_dim exceeds 128 on a GPU.
pub struct AttentionPaged<'a> {
    /// `[rows, heads·head_dim]`, activations, rotated.
    pub q: View<'a>,
    /// `[pages·kv_heads, 64, head_dim]`: head `h` of page `p` at `p·kv_heads + h`; activations.
    pub k_pages: View<'a>,
    /// As `k_pages`.
    pub v_pages: View<'a>,
    /// `[logical pages]` of the sequence of all rows, or `[rows, logical pages]`, a sequence for each row; u32: which
    /// page holds tokens `64·i..64·i+64`.
    pub block_table: View<'a>,
    /// `[rows]`, u32: each row's position in its sequence.
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
    /// The least that the call must move and compute, which depends on what `positions` holds: a sequence's keys and
    /// values up to its last row are read once.
    pub fn work(&self, positions: &[u32]) -> Work {
        let [_, _, head_dim] = *self.k_pages.dims().as_slice() else { return Work::default() };
        let seen = positions.iter().map(|&position| position as usize + 1);
        let flops = 4 * seen.clone().sum::<usize>() * self.heads * head_dim;
        let has_own_tables = self.block_table.dims().as_slice().len() == 2;
        let tokens = if has_own_tables { seen.sum() } else { seen.max().unwrap_or(0) };
        let cached = 2 * tokens * self.kv_heads * head_dim * self.k_pages.dtype().bytes();
        Work::of(&[&self.q, &self.positions], &[&self.out], flops).and_bytes(cached)
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        let mut dims = DimCheck::new("attention_paged");
        dims.bind("page", "page tokens", PAGE_TOKENS)?;
        dims.input("k_pages", &self.k_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
        dims.input("v_pages", &self.v_pages, &["pages·kv_heads", "page tokens", "head_dim"])?;
        let columns = dims.product("heads·head_dim", &[self.heads, dims.size("head_dim")])?;
        dims.bind("q", "heads·head_dim", columns)?;
        dims.input("q", &self.q, &["rows", "heads·head_dim"])?;
        dims.output("out", &self.out, &["rows", "heads·head_dim"])?;
        check_tables(&mut dims, &self.block_table)?;
        dims.typed("positions", &self.positions, DType::U32, &["rows"])?;
        dims.require(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), || {
            format!("{} heads do not share {} key heads evenly", self.heads, self.kv_heads)
        })?;
        let rows = dims.size("rows");
        dims.require(rows <= DECODE_ROWS_MAX || table_stride(&self.block_table) == 0, || {
            format!("{rows} rows have sequences of their own, at most {DECODE_ROWS_MAX} may")
        })?;
        let pages = whole_pages(&dims, self.kv_heads)?;
        Ok(Shape { rows, head_dim: dims.size("head_dim"), pages })
    }
}

/// The pages of a cache with `kv_heads` key heads, above 0, in each.
pub(crate) fn whole_pages(dims: &DimCheck, kv_heads: usize) -> Result<usize> {
    let pages = dims.size("pages·kv_heads");
    dims.require(pages.is_multiple_of(kv_heads), || {
        format!("{pages} page heads do not divide by {kv_heads} key heads")
    })?;
    Ok(pages / kv_heads)
}

/// Checks a block table: of one sequence, or of one for each of the `rows`.
pub(crate) fn check_tables(dims: &mut DimCheck, block_table: &View<'_>) -> Result<()> {
    let names: &[&'static str] = match block_table.dims().as_slice().len() {
        2 => &["rows", "logical pages"],
        _ => &["logical pages"],
    };
    dims.typed("block_table", block_table, DType::U32, names)
}

/// Elements from one row's block table to the next one's; 0 where one serves all.
pub(crate) fn table_stride(block_table: &View<'_>) -> usize {
    if block_table.dims().as_slice().len() == 2 { block_table.stride() } else { 0 }
}

/// Entries of one sequence's block table.
pub(crate) fn logical_pages(block_table: &View<'_>) -> usize {
    block_table.dims().as_slice().last().copied().unwrap_or(0)
}
