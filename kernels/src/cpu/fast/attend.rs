//! Attention of many queries in bf16 blocks, in one pass over tiles of keys and values.
//!
//! Scores lie `[token, query]`, so that a query's statistics are lanes of vectors, and weights are packed for the
//! second product by pairing neighbouring rows. Queries, keys, values and weights are rounded to bf16; scores,
//! statistics and sums are f32. A row's result depends neither on the rows beside it nor on how work is shared out.
use super::{BLOCK, Block, Ready, STEP, Way, pack, round_row, rounded};
use crate::cpu::attend::Attend;
use crate::cpu::lanes::{Job, Lanes, Rows};
use crate::cpu::math::exp;
use crate::cpu::product::pack::{Runs, columns8};
use crate::cpu::scratch::{self, Kind, Scratch};
use half::bf16;

/// Tokens whose keys and values are rounded at once: with 96 columns 48 KiB each.
const TILE_TOKENS: usize = 256;

/// As [`Attend`], for heads of whole steps.
pub(crate) struct AttendFast<'a> {
    pub way: Way,
    pub task: Attend<'a>,
}

/// Whether a call's sizes are whole blocks, but for the last queries and tokens.
pub(crate) fn suits(queries: usize, head_dim: usize) -> bool {
    queries >= BLOCK && head_dim > 0 && head_dim.is_multiple_of(STEP)
}

/// The task's buffers.
struct State {
    /// Packed and scaled queries, panel by panel.
    queries: Scratch,
    /// `[TILE_TOKENS, head_dim]` bf16.
    keys: Scratch,
    /// `[head_dim, TILE_TOKENS]` bf16.
    values: Scratch,
    /// `[TILE_TOKENS, BLOCK]`, and what else needs a place for a moment.
    scores: Scratch,
    /// Packed weights.
    weights: Scratch,
    /// Per panel: `[head_dim, BLOCK]` weighted sums of values, each query's maximum and its sum of weights.
    sums: Scratch,
}

/// Tokens `first..first + count`; `whole` steps of them are packed, zeros beyond `count`.
#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    count: usize,
    whole: usize,
}

impl Job for AttendFast<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let t = &self.task;
        let ready = Ready::new(self.way);
        let panels = t.queries.div_ceil(BLOCK);
        let dim = t.head_dim;
        let mut state = State {
            queries: scratch::take(Kind::Rows, panels * BLOCK * dim / 2),
            keys: scratch::take(Kind::Panel, TILE_TOKENS * dim / 2),
            values: scratch::take(Kind::Values, TILE_TOKENS * dim / 2),
            scores: scratch::take(Kind::Scores, BLOCK * TILE_TOKENS.max(dim)),
            weights: scratch::take(Kind::Weights, BLOCK * TILE_TOKENS / 2),
            sums: scratch::take(Kind::Sums, panels * BLOCK * (dim + 2)),
        };
        for (panel, to) in state.queries.chunks_exact_mut(BLOCK * dim / 2).take(panels).enumerate() {
            let rows = BLOCK.min(t.queries - panel * BLOCK);
            let q = Rows { at: t.q.at.wrapping_add(panel * BLOCK * t.q.stride), stride: t.q.stride };
            // SAFETY: the panel's queries exist.
            unsafe { pack::<L>(q, [rows, dim], t.scale, &mut state.scores, to) };
        }
        let most = t.seen.by(t.queries - 1);
        for first in (0..most).step_by(TILE_TOKENS) {
            let count = TILE_TOKENS.min(most - first);
            let tile = Tile { first, count, whole: count.next_multiple_of(STEP) };
            // SAFETY: the last query sees the tile's tokens.
            unsafe { self.round::<L>(tile, &mut state) };
            for panel in 0..panels {
                let last = (panel * BLOCK + BLOCK).min(t.queries) - 1;
                if t.seen.by(last) > first {
                    // SAFETY: the tile is rounded.
                    unsafe { self.panel::<L>(&ready, tile, panel, &mut state) };
                }
            }
        }
        for panel in 0..panels {
            // SAFETY: every query has seen a token.
            unsafe { self.end::<L>(panel, &mut state) };
        }
    }
}

impl AttendFast<'_> {
    /// Rounds the tile's keys, and its values with rows and columns exchanged.
    ///
    /// # Safety
    /// As [`Lanes`]; the tokens exist.
    #[inline(always)]
    unsafe fn round<L: Lanes>(&self, tile: Tile, state: &mut State) {
        let t = &self.task;
        let dim = self.task.head_dim;
        let keys: &mut [u16] = bytemuck::cast_slice_mut(&mut state.keys);
        for (token, key) in keys.chunks_exact_mut(dim).take(tile.count).enumerate() {
            // SAFETY: a key has `dim` values.
            unsafe { round_row(t.tokens.at(tile.first + token).0, 1.0, key) };
        }
        keys[tile.count * dim..tile.whole * dim].fill(0);
        let values: &mut [u16] = bytemuck::cast_slice_mut(&mut state.values);
        for column in (0..dim).step_by(BLOCK) {
            for group in (0..tile.whole).step_by(8) {
                let to = state.scores[group..].as_mut_ptr();
                let count = 8.min(tile.count.saturating_sub(group));
                let at = if count > 0 { t.tokens.at(tile.first + group).1.wrapping_add(column) } else { to };
                let runs = Runs { at, stride: t.tokens.v.stride, count };
                // SAFETY: a group of eight never crosses a page; values have `dim` columns.
                unsafe { columns8::<L, f32>(runs, BLOCK, to, TILE_TOKENS) };
            }
            for row in 0..BLOCK {
                let to = &mut values[(column + row) * TILE_TOKENS..][..tile.whole];
                // SAFETY: the row was just written.
                unsafe { round_row(state.scores[row * TILE_TOKENS..].as_ptr(), 1.0, to) };
            }
        }
    }

    /// One panel of queries over one tile.
    ///
    /// # Safety
    /// As [`Lanes`]; the tile is rounded.
    #[inline(always)]
    unsafe fn panel<L: Lanes>(&self, ready: &Ready, tile: Tile, panel: usize, state: &mut State) {
        let dim = self.task.head_dim;
        let x: &[bf16] = bytemuck::cast_slice(&state.queries);
        let x = &x[panel * BLOCK * dim..][..BLOCK * dim];
        let keys: &[bf16] = &bytemuck::cast_slice(&state.keys)[..tile.whole * dim];
        for (w, scores) in keys.chunks_exact(BLOCK * dim).zip(state.scores.chunks_exact_mut(BLOCK * BLOCK)) {
            Block { w, stride: dim, ahead: w.as_ptr(), x, inner: dim, add: false }.run(ready, scores);
        }
        let scores = &mut state.scores[..tile.whole * BLOCK];
        self.mask(tile, panel, scores);
        let (sums, statistics) = state.sums[panel * BLOCK * (dim + 2)..][..BLOCK * (dim + 2)].split_at_mut(BLOCK * dim);
        // SAFETY: the caller's promise.
        unsafe { weigh::<L>(scores, tile.first == 0, statistics, sums) };
        pair(scores, &mut state.weights);
        let x: &[bf16] = &bytemuck::cast_slice(&state.weights)[..BLOCK * tile.whole];
        let values: &[bf16] = bytemuck::cast_slice(&state.values);
        for (w, sums) in values.chunks_exact(BLOCK * TILE_TOKENS).zip(sums.chunks_exact_mut(BLOCK * BLOCK)) {
            let ahead = w.as_ptr();
            let add = tile.first > 0;
            Block { w, stride: TILE_TOKENS, ahead, x, inner: tile.whole, add }.run(ready, sums);
        }
    }

    /// Takes out the tokens that are not there and those that a query does not see.
    #[inline(always)]
    fn mask(&self, tile: Tile, panel: usize, scores: &mut [f32]) {
        scores[tile.count * BLOCK..tile.whole * BLOCK].fill(f32::NEG_INFINITY);
        let queries = panel * BLOCK..self.task.queries.min((panel + 1) * BLOCK);
        if self.task.seen.by(queries.start) >= tile.first + tile.count {
            return;
        }
        for (lane, query) in queries.enumerate() {
            for token in self.task.seen.by(query).saturating_sub(tile.first)..tile.count {
                scores[token * BLOCK + lane] = f32::NEG_INFINITY;
            }
        }
    }

    /// Writes a panel's rows.
    ///
    /// # Safety
    /// As [`Lanes`]; the task owns its output.
    #[inline(always)]
    unsafe fn end<L: Lanes>(&self, panel: usize, state: &mut State) {
        let t = &self.task;
        let dim = self.task.head_dim;
        let sums = &state.sums[panel * BLOCK * (dim + 2)..][..BLOCK * (dim + 2)];
        for (lane, column) in (0..BLOCK).step_by(8).flat_map(|lane| (0..dim).step_by(8).map(move |c| (lane, c))) {
            let from = sums[column * BLOCK + lane..].as_ptr();
            let to = state.scores[lane * dim + column..].as_mut_ptr();
            // SAFETY: eight columns of eight queries, on both sides.
            unsafe { L::transpose8(from, BLOCK, to, dim) };
        }
        for (lane, query) in (panel * BLOCK..t.queries.min((panel + 1) * BLOCK)).enumerate() {
            let scale = 1.0 / sums[BLOCK * (dim + 1) + lane];
            // SAFETY: the task alone owns its rows of the output.
            let out = unsafe { std::slice::from_raw_parts_mut(t.out.at.add(query * t.out.stride), dim) };
            for (out, sum) in out.iter_mut().zip(&state.scores[lane * dim..]) {
                *out = sum * scale;
            }
        }
    }
}

/// Turns scores into weights and brings the sums to the new maxima.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn weigh<L: Lanes>(scores: &mut [f32], fresh: bool, statistics: &mut [f32], sums: &mut [f32]) {
    let rows = scores.len() / BLOCK;
    for lane in (0..BLOCK).step_by(L::WIDTH) {
        let scores = scores[lane..].as_mut_ptr();
        let old = statistics[lane..].as_mut_ptr();
        // SAFETY: vectors lie within rows of `BLOCK` values.
        unsafe {
            let mut highest = if fresh { L::splat(f32::NEG_INFINITY) } else { L::load(old) };
            for row in 0..rows {
                highest = L::max(L::load(scores.add(row * BLOCK)), highest);
            }
            let mut total = [L::splat(0.0); 2];
            for row in (0..rows).step_by(2) {
                for (i, total) in total.iter_mut().enumerate() {
                    let at = scores.add((row + i) * BLOCK);
                    let weight = exp::<L>(L::sub(L::load(at), highest));
                    L::store(at, weight);
                    *total = L::add(*total, weight);
                }
            }
            let mut total = L::add(total[0], total[1]);
            if !fresh {
                let decay = exp::<L>(L::sub(L::load(old), highest));
                total = L::fma(L::load(old.add(BLOCK)), decay, total);
                for at in (lane..sums.len()).step_by(BLOCK) {
                    let at = sums.as_mut_ptr().add(at);
                    L::store(at, L::mul(L::load(at), decay));
                }
            }
            L::store(old, highest);
            L::store(old.add(BLOCK), total);
        }
    }
}

/// Rounds weights `[token, query]` and packs them as [`pack`] does queries.
#[inline(always)]
fn pair(weights: &[f32], to: &mut [f32]) {
    let to: &mut [u32] = bytemuck::cast_slice_mut(to);
    for (pair, rows) in weights.chunks_exact(2 * BLOCK).enumerate() {
        for half in 0..2 {
            let to = &mut to[pair / 16 * 512 + half * 256 + pair % 16 * 16..][..16];
            let even = &rows[half * 16..][..16];
            let odd = &rows[BLOCK + half * 16..][..16];
            for ((to, &even), &odd) in to.iter_mut().zip(even).zip(odd) {
                *to = u32::from(rounded(even)) | u32::from(rounded(odd)) << 16;
            }
        }
    }
}
