//! `qkv_rope_append`: splits the fused projection, rotates queries and keys, appends keys and values to the cache.
use crate::ops::attention_paged::{check_tables, whole_pages};
use crate::{DType, DimCheck, PAGE_TOKENS, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub(crate) mod places;
#[cfg(test)]
mod tests;

/// Rotary embedding in the half-split form: pair (i, i + head_dim/2) turns by the angle of `cos[p, i]`, `sin[p, i]`
/// at position p = `positions[r]`. `q` leaves rotated; rotated k and plain v go to the row's sequence's
/// page `block_table[p / 64]`, row `p % 64`.
///
/// What `positions` and `block_table` hold is looked at when the op runs. A row without a place of its own in the cache
/// changes nothing there, and its row of `q` is NaN, on every device. A place is its own if p is below the rows of
/// `cos` and the positions that `block_table` covers, the page is one of the cache, and no other row of the call goes
/// there; where all rows are of one sequence, row r must also be at position `positions[0] + r`.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, there are no heads or no key heads, or the key
/// heads do not divide the cache.
pub struct QkvRopeAppend<'a> {
    /// `[rows, (heads + 2·kv_heads)·head_dim]`, activations: queries, keys, values.
    pub qkv: View<'a>,
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

impl QkvRopeAppend<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.qkv.dims().as_slice()[0];
        let [_, _, head_dim] = *self.k_pages.dims().as_slice() else { return Work::default() };
        let stored = 2 * rows * self.kv_heads * head_dim * self.k_pages.dtype().bytes();
        let angles = rows * head_dim * size_of::<f32>();
        let flops = 3 * rows * (self.heads + self.kv_heads) * head_dim;
        Work::of(&[&self.qkv, &self.positions], &[&self.q], flops).and_bytes(stored + angles)
    }

    /// Checks the contract; gives the sizes of heads and cache.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Heads> {
        let mut dims = DimCheck::new("qkv_rope_append");
        let angles = [&self.cos, &self.sin];
        let places = [&self.positions, &self.block_table];
        let pages = [&self.k_pages, &self.v_pages];
        let heads = check_heads(&mut dims, angles, places, [self.heads, self.kv_heads], pages)?;
        dims.input("qkv", &self.qkv, &["rows", "(heads + 2·kv_heads)·head_dim"])?;
        dims.output("q", &self.q, &["rows", "heads·head_dim"])?;
        Ok(heads)
    }
}

/// The sizes of a checked call.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub queries: usize,
    /// Key heads, and as many value heads.
    pub keys: usize,
    /// Columns of one head.
    pub head_dim: usize,
    /// Physical pages in the cache.
    pub pages: usize,
    /// Positions that have angles.
    pub angles: usize,
}

/// Checks the part of a contract that is rotation and cache.
pub(crate) fn check_heads(
    dims: &mut DimCheck,
    [cos, sin]: [&View<'_>; 2],
    [positions, block_table]: [&View<'_>; 2],
    [heads, kv_heads]: [usize; 2],
    [k_pages, v_pages]: [&ViewMut<'_>; 2],
) -> Result<Heads> {
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
    dims.require(heads > 0 && kv_heads > 0, || format!("{heads} heads and {kv_heads} key heads, wanted some of both"))?;
    let columns = dims.product("heads·head_dim", &[heads, head_dim])?;
    let key_columns = dims.product("2·kv_heads·head_dim", &[2, kv_heads, head_dim])?;
    dims.bind("heads", "heads·head_dim", columns)?;
    dims.bind("heads", "(heads + 2·kv_heads)·head_dim", columns + key_columns)?;
    let pages = whole_pages(dims, kv_heads)?;
    Ok(Heads { queries: heads, keys: kv_heads, head_dim, pages, angles: dims.size("positions") })
}
