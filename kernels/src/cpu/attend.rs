//! Attention of some queries of one head, in one pass over tiles of keys and values (after FlashAttention).
//!
//! A row's running maximum and sum are rescaled tile by tile. Tiles start at multiples of [`TILE_TOKENS`], so a row's
//! result depends neither on the rows beside it nor on how work is shared out. One or two queries, as in decode, skip
//! the packing (`attend_few`) and round in another order; many may be rounded to bf16 (`fast/attend`) if allowed.
use super::attend_few::AttendFew;
use super::fast::Way;
use super::fast::attend::{AttendFast, suits};
use super::lanes::{Isa, Job, Lanes, Rows, RowsMut};
use super::math;
use super::product::pack::{Runs, columns8};
use super::scratch::{self, Kind, Scratch};
use crate::PAGE_TOKENS;

/// Tokens whose keys and values are packed at once.
const TILE_TOKENS: usize = 256;

/// Rows whose scores are held at once: 48 KiB. A multiple of every `TILE_ROWS`.
const STRIP_ROWS: usize = 48;

/// Most queries of a task; packing costs about 6 / queries of the arithmetic.
const TASK_QUERIES: usize = 384;

/// Queries per task, so that all threads have work; the result does not depend on it.
pub(crate) fn block_queries(queries: usize, heads: usize) -> usize {
    let wanted = (4 * rayon::current_num_threads()).div_ceil(heads.max(1));
    let blocks = queries.div_ceil(TASK_QUERIES).max(wanted.min(queries.div_ceil(2 * STRIP_ROWS)));
    queries.div_ceil(blocks.max(1)).next_multiple_of(STRIP_ROWS).max(STRIP_ROWS)
}

/// Where one head's keys and values lie.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    /// Strides are between tokens.
    pub k: Rows,
    pub v: Rows,
    /// Where tokens lie in pages: the table, and values from page to page.
    pub pages: Option<(&'a [u32], usize)>,
}

impl Tokens<'_> {
    /// The key and the value of a token; the next ones of its page follow at the strides.
    #[inline(always)]
    pub fn at(&self, token: usize) -> (*const f32, *const f32) {
        let (page, row) = match self.pages {
            None => (0, token),
            Some((table, page)) => (table[token / PAGE_TOKENS] as usize * page, token % PAGE_TOKENS),
        };
        (self.k.at.wrapping_add(page + row * self.k.stride), self.v.at.wrapping_add(page + row * self.v.stride))
    }
}

/// How many tokens, from the first on, each query sees.
#[derive(Clone, Copy)]
pub(crate) enum Seen<'a> {
    All(usize),
    /// One more than the query's position.
    UpTo(&'a [u32]),
}

impl Seen<'_> {
    pub fn by(&self, query: usize) -> usize {
        match self {
            Seen::All(tokens) => *tokens,
            Seen::UpTo(positions) => positions[query] as usize + 1,
        }
    }
}

/// A task: some queries of one head.
///
/// Whoever runs it vouches for its addresses: `queries`, at least one, rows of `head_dim` values from `q` and `out` on,
/// at their strides; keys and values of as many, for each token that a query sees, where `tokens` says; and no other
/// thread reads or writes those rows of `out` meanwhile.
#[derive(Clone, Copy)]
pub(crate) struct Attend<'a> {
    pub q: Rows,
    pub tokens: Tokens<'a>,
    /// Ascending where it differs from query to query.
    pub seen: Seen<'a>,
    pub queries: usize,
    pub head_dim: usize,
    pub scale: f32,
    pub out: RowsMut,
}

// SAFETY: plain addresses; the caller of a task guarantees that they are valid.
unsafe impl Send for Attend<'_> {}

/// The task's buffers. Rows of queries, outputs and scores come in whole register tiles.
struct State {
    /// Scaled queries, `[queries, head_dim]`.
    queries: Scratch,
    /// `[head_dim, 2 · WIDTH]` panels, one per `2 · WIDTH` tokens.
    keys: Scratch,
    /// `[TILE_TOKENS, 2 · WIDTH]` panels, one per `2 · WIDTH` columns.
    values: Scratch,
    /// `[STRIP_ROWS, TILE_TOKENS]`.
    scores: Scratch,
    /// `[queries, columns]` weighted sums of values, then each query's maximum and sum of weights.
    sums: Scratch,
    /// Columns of `sums`: `head_dim`, rounded up to whole panels.
    columns: usize,
}

/// Queries up to which keys and values are streamed.
const FEW: usize = 2;

impl Attend<'_> {
    /// Attends in the way that suits the call's number of queries, `all`.
    ///
    /// # Safety
    /// The addresses are what [`Attend`] says.
    pub unsafe fn run_on(self, isa: Isa, way: Option<Way>, all: usize) {
        // SAFETY: the caller vouches for the addresses.
        unsafe {
            match way {
                _ if all <= FEW => isa.run(AttendFew(self)),
                Some(way) if suits(all, self.head_dim) => isa.run(AttendFast { way, task: self }),
                _ => isa.run(self),
            }
        }
    }
}

impl Job for Attend<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let width = 2 * L::WIDTH;
        let columns = self.head_dim.next_multiple_of(width);
        let rows = self.queries.next_multiple_of(STRIP_ROWS);
        let mut state = State {
            queries: scratch::take(Kind::Rows, rows * self.head_dim),
            keys: scratch::take(Kind::Panel, TILE_TOKENS * self.head_dim),
            values: scratch::take(Kind::Values, TILE_TOKENS * columns),
            scores: scratch::take(Kind::Scores, STRIP_ROWS * TILE_TOKENS),
            sums: scratch::take(Kind::Sums, rows * (columns + 2)),
            columns,
        };
        for (query, to) in state.queries.chunks_exact_mut(self.head_dim.max(1)).take(self.queries).enumerate() {
            for (i, to) in to.iter_mut().enumerate() {
                // SAFETY: the caller vouches for `head_dim` values of each query.
                *to = unsafe { *self.q.at.add(query * self.q.stride + i) } * self.scale;
            }
        }
        let most = self.seen.by(self.queries - 1);
        for first in (0..most).step_by(TILE_TOKENS) {
            let count = TILE_TOKENS.min(most - first);
            // SAFETY: `first..first + count` are tokens that the last query sees; buffers were sized above.
            unsafe { self.pack::<L>(first, count, &mut state) };
            for strip in (0..self.queries).step_by(STRIP_ROWS) {
                let rows = STRIP_ROWS.min(self.queries - strip);
                if self.seen.by(strip + rows - 1) > first {
                    // SAFETY: the tile is packed.
                    unsafe { self.strip::<L>([first, count], [strip, rows], &mut state) };
                }
            }
        }
        for query in 0..self.queries {
            let scale = 1.0 / state.sums[rows * columns + 2 * query + 1];
            for (i, sum) in state.sums[query * columns..][..self.head_dim].iter().enumerate() {
                // SAFETY: the task alone owns its rows of the output.
                unsafe { *self.out.at.add(query * self.out.stride + i) = sum * scale };
            }
        }
    }
}

impl Attend<'_> {
    /// Packs `count` tokens from `first` on. Scores of tokens beyond are never read; their values are never
    /// multiplied.
    ///
    /// # Safety
    /// As [`Lanes`]; the tokens exist.
    #[inline(always)]
    unsafe fn pack<L: Lanes>(&self, first: usize, count: usize, state: &mut State) {
        let width = 2 * L::WIDTH;
        for group in (0..count).step_by(8) {
            let (k, v) = self.tokens.at(first + group);
            let runs = Runs { at: k, stride: self.tokens.k.stride, count: 8.min(count - group) };
            let to = state.keys[group / width * width * self.head_dim + group % width..].as_mut_ptr();
            // SAFETY: a group of eight never crosses a page; its keys have `head_dim` values.
            unsafe { columns8::<L, f32>(runs, self.head_dim, to, width) };
            for token in 0..runs.count {
                let from = v.wrapping_add(token * self.tokens.v.stride);
                for column in (0..self.head_dim).step_by(width) {
                    let columns = width.min(self.head_dim - column);
                    let to = &mut state.values[(column / width * TILE_TOKENS + group + token) * width..][..width];
                    // SAFETY: the value has `head_dim` values.
                    unsafe { std::ptr::copy_nonoverlapping(from.add(column), to.as_mut_ptr(), columns) };
                    to[columns..].fill(0.0);
                }
            }
        }
        let last = count.next_multiple_of(8);
        for group in (last..last.next_multiple_of(width)).step_by(8) {
            let at = group / width * width * self.head_dim + group % width;
            for row in state.keys[at..].chunks_mut(width).take(self.head_dim) {
                row[..8].fill(0.0);
            }
        }
    }

    /// One strip of queries over one packed tile.
    ///
    /// # Safety
    /// As [`Lanes`]; the tile is packed.
    #[inline(always)]
    unsafe fn strip<L: Lanes>(&self, [first, count]: [usize; 2], [strip, rows]: [usize; 2], state: &mut State) {
        let width = 2 * L::WIDTH;
        let columns = state.columns;
        let statistics = self.queries.next_multiple_of(STRIP_ROWS) * columns;
        let visible = |row: usize| self.seen.by(strip + row).saturating_sub(first).min(count);
        for panel in (0..count).step_by(width) {
            let w = state.keys[panel * self.head_dim..].as_ptr();
            for row in (0..rows).step_by(L::TILE_ROWS) {
                if visible((row + L::TILE_ROWS).min(rows) - 1) > panel {
                    let at = state.queries[(strip + row) * self.head_dim..].as_ptr();
                    let to = state.scores[row * TILE_TOKENS + panel..].as_mut_ptr();
                    let to = RowsMut { at: to, stride: TILE_TOKENS };
                    // SAFETY: queries and scores hold whole tiles of rows.
                    unsafe { L::multiply_tile(self.head_dim, Rows { at, stride: self.head_dim }, w, to, false) };
                }
            }
        }
        for row in 0..rows {
            let seen = visible(row);
            let scores = &mut state.scores[row * TILE_TOKENS..][..TILE_TOKENS];
            let (sums, statistics) = state.sums.split_at_mut(statistics);
            let statistics = &mut statistics[2 * (strip + row)..][..2];
            let sums = &mut sums[(strip + row) * columns..][..columns];
            // SAFETY: as this function's; scores are a tile's, sums whole panels.
            unsafe { weigh::<L>(scores, seen, first == 0, statistics, sums) };
            // The product below runs as deep as the last row of the register tile sees.
            let last = ((row / L::TILE_ROWS + 1) * L::TILE_ROWS).min(rows) - 1;
            scores[seen..visible(last)].fill(0.0);
        }
        for column in (0..columns).step_by(width) {
            let w = state.values[column * TILE_TOKENS..].as_ptr();
            for row in (0..rows).step_by(L::TILE_ROWS) {
                let depth = visible((row + L::TILE_ROWS).min(rows) - 1);
                let x = Rows { at: state.scores[row * TILE_TOKENS..].as_ptr(), stride: TILE_TOKENS };
                let to = state.sums[(strip + row) * columns + column..].as_mut_ptr();
                let to = RowsMut { at: to, stride: columns };
                // SAFETY: scores and sums hold whole tiles of rows.
                unsafe { L::multiply_tile(depth, x, w, to, first > 0) };
            }
        }
    }
}

/// Turns a row's scores into weights and brings its sums to the new maximum.
///
/// # Safety
/// As [`Lanes`]; `sums` is whole vectors, `scores` too up to `seen`.
#[inline(always)]
unsafe fn weigh<L: Lanes>(scores: &mut [f32], seen: usize, fresh: bool, statistics: &mut [f32], sums: &mut [f32]) {
    if seen == 0 {
        return;
    }
    let whole = seen.next_multiple_of(L::WIDTH);
    scores[seen..whole].fill(f32::NEG_INFINITY);
    // SAFETY: `scores` holds whole vectors up to `whole`, `sums` only whole vectors.
    unsafe {
        let mut highest = L::load(scores.as_ptr());
        for i in (L::WIDTH..whole).step_by(L::WIDTH) {
            highest = L::max(highest, L::load(scores.as_ptr().add(i)));
        }
        let highest = math::max::<L>(highest);
        let highest = if fresh { highest } else { highest.max(statistics[0]) };
        let mut total = L::splat(0.0);
        for i in (0..whole).step_by(L::WIDTH) {
            let weight = math::exp::<L>(L::sub(L::load(scores.as_ptr().add(i)), L::splat(highest)));
            L::store(scores.as_mut_ptr().add(i), weight);
            total = L::add(total, weight);
        }
        let total = math::sum::<L>(total);
        if fresh {
            statistics.copy_from_slice(&[highest, total]);
            return;
        }
        let decay = math::exp::<L>(L::splat(statistics[0] - highest));
        for i in (0..sums.len()).step_by(L::WIDTH) {
            let at = sums.as_mut_ptr().add(i);
            L::store(at, L::mul(L::load(at), decay));
        }
        let mut old = [0f32; 16];
        L::store(old.as_mut_ptr(), decay);
        statistics.copy_from_slice(&[highest, statistics[1] * old[0] + total]);
    }
}
