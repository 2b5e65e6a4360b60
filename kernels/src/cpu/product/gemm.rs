//! Many rows: panels of weights are widened into scratch once per block of rows, then multiplied tile by tile.
use super::finish::{Stretch, finish};
use super::pack::{Runs, columns8};
use super::{Product, Shared};
use crate::cpu::lanes::{Isa, Job, Lanes, Rows, RowsMut, Stored};
use crate::cpu::scratch::{self, Kind};
use crate::ops::Epilogue;
use rayon::prelude::*;
use std::ops::Range;

/// Inner values per pass. A panel of this depth (16 KiB with AVX2) stays in the first-level cache while rows run past
/// it. Part of the numerics: a sum is added up in pieces of this length.
const DEPTH: usize = 256;

/// Rows of x packed at once: 96 KiB of the second-level cache. A multiple of every `TILE_ROWS`.
const STRIP_ROWS: usize = 96;

/// Columns of weights packed at once: 512 KiB. Packing x costs about 3 / columns of the multiplication.
const BLOCK_COLUMNS: usize = 512;

/// Most rows of a task; packing weights costs about 10 / rows of the multiplication.
const BLOCK_ROWS: usize = 1152;

pub(super) fn run<S: Stored>(isa: Isa, product: &Product<'_>, weights: &[S], out: &mut [f32]) {
    let out = Shared(out.as_mut_ptr());
    let panels = (product.columns << usize::from(product.gated())).div_ceil(2 * isa.width());
    let (row_blocks, panel_blocks) = grid(product.rows, panels, BLOCK_COLUMNS / (2 * isa.width()));
    let tasks = row_blocks * panel_blocks;
    (0..tasks).into_par_iter().with_max_len(1).for_each(|task| {
        let rows = part(product.rows, row_blocks, task % row_blocks);
        let panels = part(panels, panel_blocks, task / row_blocks);
        if !rows.is_empty() && !panels.is_empty() {
            // SAFETY: `Product::run` compared all slices with the sizes; tasks have disjoint rows or panels of `out`.
            unsafe { isa.run(Block { product, weights, rows, panels, out }) };
        }
    });
}

/// Blocks of rows and of panels: enough to occupy all threads. The result does not depend on the choice.
fn grid(rows: usize, panels: usize, panels_per_block: usize) -> (usize, usize) {
    let wanted = 4 * rayon::current_num_threads();
    let mut row_blocks = rows.div_ceil(BLOCK_ROWS);
    let panel_blocks = panels.div_ceil(panels_per_block);
    while row_blocks * panel_blocks < wanted && rows.div_ceil(row_blocks * 2) >= 2 * STRIP_ROWS {
        row_blocks *= 2;
    }
    let missing = wanted.div_ceil(row_blocks).min(panels);
    (row_blocks, panel_blocks.max(missing))
}

/// Part `index` of `count` nearly equal parts.
fn part(total: usize, count: usize, index: usize) -> Range<usize> {
    total * index / count..total * (index + 1) / count
}

/// A task: all sums of some rows and some panels. Whoever runs it vouches that slices and `out` have the product's
/// sizes and that no other task touches these rows and panels of `out` meanwhile.
struct Block<'a, S> {
    product: &'a Product<'a>,
    weights: &'a [S],
    rows: Range<usize>,
    panels: Range<usize>,
    out: Shared,
}

impl<S: Stored> Job for Block<'_, S> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let p = self.product;
        let width = 2 * L::WIDTH;
        let mut packed = scratch::take(Kind::Panel, self.panels.len() * DEPTH * width);
        let mut strip = scratch::take(Kind::Rows, STRIP_ROWS * DEPTH);
        // SwiGLU halves its columns, so its sums cannot wait in the output.
        let sums = if p.gated() { self.rows.len() * self.panels.len() * width } else { 0 };
        let mut sums = scratch::take(Kind::Sums, sums);
        for k in (0..p.inner.max(1)).step_by(DEPTH) {
            let depth = DEPTH.min(p.inner - k);
            for (index, panel) in self.panels.clone().enumerate() {
                // SAFETY: as this function's; the scratch holds `panels` panels.
                unsafe { self.pack::<L>(panel, k, depth, &mut packed[index * DEPTH * width..][..DEPTH * width]) };
            }
            for first in self.rows.clone().step_by(STRIP_ROWS) {
                let rows = first..self.rows.end.min(first + STRIP_ROWS);
                for (row, to) in rows.clone().zip(strip.chunks_exact_mut(DEPTH)) {
                    to[..depth].copy_from_slice(&p.x[row * p.inner + k..][..depth]);
                }
                for (index, panel) in self.panels.clone().enumerate() {
                    let w = packed[index * DEPTH * width..].as_ptr();
                    let pass = Pass { panel, rows: rows.clone(), x: strip.as_ptr(), w, k, depth };
                    // SAFETY: strip and panel were just packed; the task alone owns its rows and panels of the output.
                    unsafe { self.multiply::<L>(&pass, sums.as_mut_ptr()) };
                }
            }
        }
    }
}

/// One panel by one strip of rows.
struct Pass {
    panel: usize,
    rows: Range<usize>,
    x: *const f32,
    w: *const f32,
    k: usize,
    depth: usize,
}

impl<S: Stored> Block<'_, S> {
    /// Packs columns `k..k + depth` of the weight rows behind a panel: for SwiGLU the gates, then their values.
    ///
    /// # Safety
    /// As [`Lanes`]; `to` holds a panel.
    #[inline(always)]
    unsafe fn pack<L: Lanes>(&self, panel: usize, k: usize, depth: usize, to: &mut [f32]) {
        let p = self.product;
        for group in (0..2 * L::WIDTH).step_by(8) {
            let (column, offset) = match (p.gated(), group >= L::WIDTH) {
                (false, _) => (panel * 2 * L::WIDTH + group, 0),
                (true, false) => (panel * L::WIDTH + group, 0),
                (true, true) => (panel * L::WIDTH + group - L::WIDTH, p.columns),
            };
            let count = p.columns.saturating_sub(column).min(8);
            let at = self.weights.as_ptr().wrapping_add((column + offset) * p.inner + k);
            // SAFETY: `count` rows from `column` on lie within the weights; the panel has `DEPTH` rows.
            unsafe {
                columns8::<L, S>(Runs { at, stride: p.inner, count }, depth, to[group..].as_mut_ptr(), 2 * L::WIDTH)
            };
        }
    }

    /// # Safety
    /// As [`Lanes`]; the pass's strip and panel are packed, `sums` holds the block's sums where SwiGLU needs them.
    #[inline(always)]
    unsafe fn multiply<L: Lanes>(&self, pass: &Pass, sums: *mut f32) {
        let p = self.product;
        let width = 2 * L::WIDTH;
        let (to, columns) = if p.gated() {
            let stride = self.panels.len() * width;
            let at = (pass.rows.start - self.rows.start) * stride + (pass.panel - self.panels.start) * width;
            (RowsMut { at: sums.wrapping_add(at), stride }, width)
        } else {
            let at = pass.rows.start * p.columns + pass.panel * width;
            (RowsMut { at: self.out.0.wrapping_add(at), stride: p.columns }, width.min(p.columns - pass.panel * width))
        };
        let add = pass.k > 0 || p.epilogue == Epilogue::Residual;
        for row in (0..pass.rows.len()).step_by(L::TILE_ROWS) {
            let rows = L::TILE_ROWS.min(pass.rows.len() - row);
            let x = Rows { at: pass.x.wrapping_add(row * DEPTH), stride: DEPTH };
            let to = RowsMut { at: to.at.wrapping_add(row * to.stride), stride: to.stride };
            // SAFETY: the tile's rows and columns are the task's own; the strip has whole tiles of rows.
            unsafe {
                if rows == L::TILE_ROWS && columns == width {
                    L::multiply_tile(pass.depth, x, pass.w, to, add);
                } else {
                    partial::<L>(pass.depth, x, pass.w, to, [rows, columns], add);
                }
            }
        }
        if pass.k + pass.depth == p.inner {
            // SAFETY: the sums of this strip are complete.
            unsafe { self.end::<L>(pass, to, columns) };
        }
    }

    /// Bias and activation over a strip of complete sums.
    ///
    /// # Safety
    /// As [`Lanes`]; `from` holds the strip's sums, `columns` in each row.
    #[inline(always)]
    unsafe fn end<L: Lanes>(&self, pass: &Pass, from: RowsMut, columns: usize) {
        let p = self.product;
        // A residual is already in the sums.
        let epilogue = if p.epilogue == Epilogue::Residual { Epilogue::None } else { p.epilogue };
        if epilogue == Epilogue::None && p.bias.is_none() {
            return;
        }
        let (first, count) = if p.gated() {
            (pass.panel * L::WIDTH, L::WIDTH.min(p.columns - pass.panel * L::WIDTH))
        } else {
            (pass.panel * 2 * L::WIDTH, columns)
        };
        let bias = p.bias.map(|bias| bias[first..].as_ptr());
        for (index, row) in pass.rows.clone().enumerate() {
            let sums = from.at.wrapping_add(index * from.stride).cast_const();
            let out = self.out.0.wrapping_add(row * p.columns + first);
            let stretch = Stretch { sums, values: sums.wrapping_add(L::WIDTH), bias, out, count };
            // SAFETY: the row's sums and its stretch of the output are this task's own.
            unsafe { finish::<L>(epilogue, stretch) };
        }
    }
}

/// A tile at the edge: multiplied into scratch, its valid part copied.
///
/// # Safety
/// As [`Lanes::multiply_tile`] for x and w; `to` holds `rows` rows of `columns` values.
#[inline(always)]
unsafe fn partial<L: Lanes>(depth: usize, x: Rows, w: *const f32, to: RowsMut, [rows, columns]: [usize; 2], add: bool) {
    let mut tile = [0f32; 12 * 32];
    // SAFETY: as this function's; a tile has at most 12 rows of 32 values.
    unsafe {
        L::multiply_tile(depth, x, w, RowsMut { at: tile.as_mut_ptr(), stride: 2 * L::WIDTH }, false);
        for row in 0..rows {
            for column in 0..columns {
                let at = to.at.add(row * to.stride + column);
                let sum = tile[row * 2 * L::WIDTH + column];
                *at = if add { *at + sum } else { sum };
            }
        }
    }
}
