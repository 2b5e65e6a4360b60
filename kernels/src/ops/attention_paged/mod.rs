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
/// Serves prefill (many rows of one or several sequences, in runs) and decode (one row of each of up to 16 sequences; a
/// GPU splits up to 16 rows over pages, so that a decoding row gets the same bits alone and in a batch). A row's bits
/// depend on its own run alone: on its length, and on no other run of the call.
/// Query head h reads key head `h / (heads / kv_heads)`. Softmax statistics and sums are f32.
/// Token p of a sequence lies at row `p % 64` of page `block_table[p / 64]`.
///
/// What `positions` and `block_table` hold is looked at when the op runs. A row is NaN, on every device, if
/// `block_table` does not cover its position or a page up to there is not one of the cache; other rows do not change.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, `runs` do not add up to the rows, there are more
/// than [`RUNS_MAX`] of them, they are longer than a row in a call of at most [`crate::DECODE_ROWS_MAX`] rows, the key
/// heads divide neither the heads nor the cache, or head_dim exceeds 128 on a GPU.
pub struct AttentionPaged<'a> {
    /// `[rows, heads·head_dim]`, activations, rotated.
    pub q: View<'a>,
    /// `[pages·kv_heads, 64, head_dim]`: head `h` of page `p` at `p·kv_heads + h`; activations.
    pub k_pages: View<'a>,
    /// As `k_pages`.
    pub v_pages: View<'a>,
    /// `[logical pages]` of the sequence of all rows, or `[runs, logical pages]`; u32: which page holds tokens
    /// `64·i..64·i+64`.
    pub block_table: View<'a>,
    /// Where `block_table` has a row for each: how many neighbouring rows each run has, in order. Rows of a run are of
    /// one sequence; a sequence may have several runs. Empty where all rows are of one sequence.
    pub runs: &'a [usize],
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

/// The most runs of a call: two of each prompt that goes through the model with as many others as a step has rows.
pub const RUNS_MAX: usize = 2 * DECODE_ROWS_MAX;

/// The runs of a decoding step, one row each.
pub const SINGLE_ROWS: [usize; DECODE_ROWS_MAX] = [1; DECODE_ROWS_MAX];

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
    /// The runs of a call of `rows` rows.
    pub(crate) fn row_runs(&self, rows: usize) -> Vec<usize> {
        if table_stride(&self.block_table) == 0 { vec![rows] } else { self.runs.to_vec() }
    }

    /// The least that the call must move and compute, which depends on what `positions` holds: a run's keys and values
    /// up to its last row are read once.
    pub fn work(&self, positions: &[u32]) -> Work {
        let [_, _, head_dim] = *self.k_pages.dims().as_slice() else { return Work::default() };
        let seen = positions.iter().map(|&position| position as usize + 1);
        let flops = 4 * seen.clone().sum::<usize>() * self.heads * head_dim;
        let mut rest = positions;
        let mut tokens = 0;
        for run in self.row_runs(positions.len()) {
            let (rows, behind) = rest.split_at(run.min(rest.len()));
            tokens += rows.iter().map(|&position| position as usize + 1).max().unwrap_or(0);
            rest = behind;
        }
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
        dims.typed("positions", &self.positions, DType::U32, &["rows"])?;
        self.check_runs(&mut dims)?;
        dims.require(self.kv_heads > 0 && self.heads.is_multiple_of(self.kv_heads), || {
            format!("{} heads do not share {} key heads evenly", self.heads, self.kv_heads)
        })?;
        let rows = dims.size("rows");
        let pages = whole_pages(&dims, self.kv_heads)?;
        Ok(Shape { rows, head_dim: dims.size("head_dim"), pages })
    }
}

impl AttentionPaged<'_> {
    /// Checks the block table, or one for each run, and the runs.
    fn check_runs(&self, dims: &mut DimCheck) -> Result<()> {
        if self.block_table.dims().as_slice().len() != 2 {
            return dims.typed("block_table", &self.block_table, DType::U32, &["logical pages"]);
        }
        let rows = dims.size("rows");
        let runs = self.runs.len();
        dims.bind("runs", "runs", runs)?;
        dims.typed("block_table", &self.block_table, DType::U32, &["runs", "logical pages"])?;
        let sum = self.runs.iter().fold(0, |sum: usize, &run| sum.saturating_add(run));
        dims.require(sum == rows, || format!("{runs} runs have {sum} rows, but there are {rows}"))?;
        dims.require(runs <= RUNS_MAX, || format!("{runs} runs, at most {RUNS_MAX} are possible"))?;
        let single = rows > DECODE_ROWS_MAX || self.runs.iter().all(|&run| run == 1);
        dims.require(single, || format!("runs of a call of {rows} rows have one row each, or are one"))
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
