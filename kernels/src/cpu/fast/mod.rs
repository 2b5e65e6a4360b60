//! Products of bf16 weights with activations rounded to bf16, where the processor multiplies bf16 itself.
//!
//! A block is 32 weight rows by 32 rows of x: `outᵀ = W · xᵀ`, so that weights are read where the checkpoint has them
//! and only x is rounded and packed. Sums are f32. The block is written three times: AMX tiles, AVX-512 pairs, and a
//! plain twin that the tests run everywhere. Before the first use a processor's way is compared with the twin on sums
//! that are exact in any order; a difference leaves the exact path in use and shows in `Cpu`'s description.
use super::lanes::{Isa, Job, Lanes, Rows};
use super::product::{Product, Shared, Stretch, Weights, finish};
use super::scratch::{self, Kind};
use crate::cpu::Precision;
use half::bf16;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod twin;

pub(crate) mod attend;

/// Weight rows, and rows of x, of a block.
const BLOCK: usize = 32;

/// Panels of 32 rows of x that a task packs: with [`DEPTH`] values each, half of the second-level cache.
const TASK_PANELS: usize = 9;

/// Blocks of columns that a task has at least, where there are as many: packing x costs about 3 / blocks of the
/// multiplication.
const TASK_BLOCKS: usize = 32;

/// Inner values per pass. Part of the numerics: longer sums are added up in pieces.
const DEPTH: usize = 2048;

/// Inner values of one step: an AMX tile row.
const STEP: usize = 32;

/// Sums of a block, `[weight row, row of x]`.
type Sums = [f32; BLOCK * BLOCK];

/// A way to multiply a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Rust without special instructions; for tests and comparison.
    Twin,
    /// `vdpbf16ps`.
    #[cfg(target_arch = "x86_64")]
    Pairs,
    /// `tdpbf16ps`.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

/// What this processor offers, after the comparison with the twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    Nothing,
    Checked(Way),
    /// Its results differ from the twin's.
    Refused(Way),
}

/// How large products are computed, if not exactly.
pub(crate) fn way(precision: Precision) -> Option<Way> {
    match (precision, offer()) {
        (Precision::FastTwin, _) => Some(Way::Twin),
        (Precision::Fast, Offer::Checked(way)) => Some(way),
        _ => None,
    }
}

/// Decides once.
pub(crate) fn offer() -> Offer {
    static OFFER: OnceLock<Offer> = OnceLock::new();
    *OFFER.get_or_init(|| match fastest() {
        None => Offer::Nothing,
        Some(way) if agrees_with_twin(way) => Offer::Checked(way),
        Some(way) => Offer::Refused(way),
    })
}

/// All that this processor runs right, for tests.
#[cfg(test)]
pub(crate) fn ways() -> Vec<Option<Way>> {
    let mut ways = vec![Some(Way::Twin)];
    #[cfg(target_arch = "x86_64")]
    {
        ways.extend((pairs::available() && agrees_with_twin(Way::Pairs)).then_some(Some(Way::Pairs)));
        ways.extend((amx::available() && agrees_with_twin(Way::Amx)).then_some(Some(Way::Amx)));
    }
    ways
}

#[cfg(target_arch = "x86_64")]
fn fastest() -> Option<Way> {
    if amx::available() {
        Some(Way::Amx)
    } else if pairs::available() {
        Some(Way::Pairs)
    } else {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fastest() -> Option<Way> {
    None
}

/// Blocks of integers small enough that every sum is exact, three steps deep, with a wider weight stride; the second
/// adds to the first.
fn agrees_with_twin(way: Way) -> bool {
    let inner = 3 * STEP;
    let stride = 4 * STEP;
    let integer = |i: usize, by: usize| bf16::from_f32((i * by % 257) as f32 - 128.0);
    let w: Vec<bf16> = (0..BLOCK * stride).map(|i| integer(i, 101)).collect();
    let x: Vec<bf16> = (0..BLOCK * inner).map(|i| integer(i, 73)).collect();
    let run = |way| {
        let ready = Ready::new(way);
        let mut sums = [f32::NAN; BLOCK * BLOCK];
        for add in [false, true] {
            let block = Block { w: &w, stride, ahead: w.as_ptr(), x: &x, inner, add };
            block.run(&ready, &mut sums);
        }
        sums
    };
    run(way) == run(Way::Twin)
}

/// `sums (+)= W · xᵀ` for 32 weight rows and 32 packed rows of x.
struct Block<'a> {
    /// The first weight row's first value; rows are `stride` values apart.
    w: &'a [bf16],
    stride: usize,
    /// Four weight rows that will be needed soon; they may be fetched meanwhile. May lead nowhere.
    ahead: *const bf16,
    /// As [`pack`] lays them out.
    x: &'a [bf16],
    inner: usize,
    /// Whether `sums` count.
    add: bool,
}

/// A thread that is ready to multiply blocks.
struct Ready {
    way: Way,
    /// Tiles belong to a thread.
    here: PhantomData<*const ()>,
}

impl Ready {
    fn new(way: Way) -> Self {
        #[cfg(target_arch = "x86_64")]
        if way == Way::Amx {
            // SAFETY: only `fastest` makes this value, after it found the instructions.
            unsafe { amx::configure() }
        }
        Self { way, here: PhantomData }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.way == Way::Amx {
            // SAFETY: as in `new`.
            unsafe { amx::release() }
        }
    }
}

impl Block<'_> {
    fn run(&self, ready: &Ready, sums: &mut [f32]) {
        let sums: &mut Sums = sums.try_into().expect("a block of sums");
        assert!(self.inner.is_multiple_of(STEP) && self.inner > 0, "whole steps");
        assert!(self.x.len() >= BLOCK * self.inner, "packed x holds the block");
        let rows = self.inner <= self.stride && self.w.len() >= (BLOCK - 1) * self.stride + self.inner;
        assert!(rows, "weights hold the block");
        match ready.way {
            Way::Twin => twin::block(self, sums),
            // SAFETY: sizes were just checked; only `fastest` makes these values, after it found the instructions.
            #[cfg(target_arch = "x86_64")]
            Way::Pairs => unsafe { pairs::block(self, sums) },
            // SAFETY: as above; `Ready::new` configured the tiles of this thread.
            #[cfg(target_arch = "x86_64")]
            Way::Amx => unsafe { amx::block(self, sums) },
        }
    }
}

/// Whether a product's sizes are whole blocks; all large ones of the released model are.
pub(crate) fn suits(product: &Product<'_>) -> bool {
    let whole = product.inner.is_multiple_of(STEP) && product.inner > 0 && product.columns.is_multiple_of(BLOCK);
    whole && matches!(product.weights, Weights::Bf16(_))
}

/// Runs a product that [`suits`], for `Product::run`, which has compared its slices with its sizes.
pub(crate) fn run(way: Way, isa: Isa, product: &Product<'_>, weights: &[bf16], out: &mut [f32]) {
    let out = Shared(out.as_mut_ptr());
    let panels = product.rows.div_ceil(BLOCK);
    let blocks = product.columns / BLOCK;
    let row_tasks = panels.div_ceil(TASK_PANELS);
    let column_tasks = (4 * rayon::current_num_threads()).div_ceil(row_tasks.max(1));
    let column_tasks = column_tasks.clamp(1, blocks.div_ceil(TASK_BLOCKS));
    // Neighbours share weights, so that threads read them from memory at about the same time.
    (0..row_tasks * column_tasks).into_par_iter().with_max_len(1).for_each(|task| {
        let panels = part(panels, row_tasks, task % row_tasks);
        let rows = panels.start * BLOCK..product.rows.min(panels.end * BLOCK);
        let blocks = part(blocks, column_tasks, task / row_tasks);
        // SAFETY: `Product::run` compared all slices with the sizes; tasks have disjoint rows or blocks of `out`.
        unsafe { isa.run(Task { way, product, weights, rows, blocks, out }) };
    });
}

/// Some rows of x by some blocks of weight rows. Whoever runs it vouches that slices and `out` have the product's sizes
/// and that no other task touches these rows and columns of `out` meanwhile.
struct Task<'a> {
    way: Way,
    product: &'a Product<'a>,
    weights: &'a [bf16],
    rows: Range<usize>,
    blocks: Range<usize>,
    out: Shared,
}

impl Job for Task<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let p = self.product;
        let ready = Ready::new(self.way);
        let panels = self.rows.len().div_ceil(BLOCK);
        let passes = p.inner.div_ceil(DEPTH);
        let deepest = (p.inner / STEP).div_ceil(passes) * STEP;
        let per_block = (BLOCK * BLOCK) << usize::from(p.gated());
        // Sums wait for the next pass where there is one.
        let kept = if passes > 1 { self.blocks.len() * panels } else { 1 };
        let mut packed = scratch::take(Kind::Rows, panels * BLOCK * deepest / 2);
        let mut strip = scratch::take(Kind::Panel, BLOCK * deepest / 2);
        let mut sums = scratch::take(Kind::Sums, kept * per_block);
        for pass in 0..passes {
            let steps = part(p.inner / STEP, passes, pass);
            let first = steps.start * STEP;
            let inner = steps.len() * STEP;
            for (panel, to) in packed.chunks_exact_mut(BLOCK * inner / 2).take(panels).enumerate() {
                // SAFETY: x has the panel's rows; both buffers hold 32 rows of pairs.
                unsafe {
                    let rows = self.panel(panel);
                    let x = Rows { at: p.x.as_ptr().add(rows.start * p.inner + first), stride: p.inner };
                    pack::<L>(x, [rows.len(), inner], 1.0, &mut strip, to);
                }
            }
            let packed: &[bf16] = bytemuck::cast_slice(&packed);
            for (index, panel) in self.blocks.clone().flat_map(|block| (0..panels).map(move |panel| (block, panel))) {
                let at = if passes > 1 { (index - self.blocks.start) * panels + panel } else { 0 };
                let sums = &mut sums[at * per_block..][..per_block];
                let x = &packed[panel * BLOCK * inner..][..BLOCK * inner];
                for (half, sums) in sums.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                    let w = &self.weights[(half * p.columns + index * BLOCK) * p.inner + first..];
                    let ahead = w.as_ptr().wrapping_add((BLOCK + panel % 8 * 4) * p.inner);
                    Block { w, stride: p.inner, ahead, x, inner, add: pass > 0 }.run(&ready, sums);
                }
                if pass + 1 == passes {
                    // SAFETY: the task alone owns its rows and columns of the output.
                    unsafe { self.end::<L>(self.panel(panel), index * BLOCK, sums) };
                }
            }
        }
    }
}

impl Task<'_> {
    /// Rows of x in a panel.
    fn panel(&self, panel: usize) -> Range<usize> {
        let first = self.rows.start + panel * BLOCK;
        first..self.rows.end.min(first + BLOCK)
    }

    /// Bias and activation for a panel of rows and one block's columns.
    ///
    /// # Safety
    /// As [`Lanes`]; the task owns the rows and the columns.
    #[inline(always)]
    unsafe fn end<L: Lanes>(&self, rows: Range<usize>, column: usize, sums: &[f32]) {
        let p = self.product;
        let mut turned = [[0f32; BLOCK * BLOCK]; 2];
        for (sums, turned) in sums.chunks_exact(BLOCK * BLOCK).zip(&mut turned) {
            for (i, j) in (0..BLOCK).step_by(8).flat_map(|i| (0..BLOCK).step_by(8).map(move |j| (i, j))) {
                let from = sums[i * BLOCK + j..].as_ptr();
                let to = turned[j * BLOCK + i..].as_mut_ptr();
                // SAFETY: eight by eight sums of the block, on both sides.
                unsafe { L::transpose8(from, BLOCK, to, BLOCK) };
            }
        }
        let bias = p.bias.map(|bias| bias[column..].as_ptr());
        for (row, at) in rows.zip((0..).step_by(BLOCK)) {
            let [sums, values] = turned.each_ref().map(|turned| turned[at..].as_ptr());
            let out = self.out.0.wrapping_add(row * p.columns + column);
            // SAFETY: the caller's promise.
            unsafe { finish::<L>(p.epilogue, Stretch { sums, values, bias, out, count: BLOCK }) };
        }
    }
}

/// Rounds `scale · x`, up to 32 rows of `inner` values, to bf16, zeros for rows that are missing, and lays pairs of
/// neighbours side by side: `[step, 2 halves of the rows, 16 pairs, 16 rows]` pairs.
///
/// # Safety
/// As [`Lanes`]; x has the rows.
#[inline(always)]
unsafe fn pack<L: Lanes>(x: Rows, [rows, inner]: [usize; 2], scale: f32, strip: &mut [f32], to: &mut [f32]) {
    let pairs = inner / 2;
    let strip = &mut strip[..BLOCK * pairs];
    strip[rows * pairs..].fill(0.0);
    for (row, strip) in strip.chunks_exact_mut(pairs).take(rows).enumerate() {
        // SAFETY: the caller's promise.
        unsafe { round_row(x.at.add(row * x.stride), scale, bytemuck::cast_slice_mut(strip)) };
    }
    for group in (0..BLOCK).step_by(8) {
        let from = strip[group * pairs..].as_ptr();
        for pair in (0..pairs).step_by(8) {
            let to = to[pair / 16 * 512 + group / 16 * 256 + pair % 16 * 16 + group % 16..].as_mut_ptr();
            // SAFETY: eight rows of pairs, which are moved as if they were f32 values; `pairs` is a multiple of 16.
            unsafe { L::transpose8(from.add(pair), pairs, to, 16) };
        }
    }
}

/// `to = bf16(scale · from)`.
///
/// # Safety
/// `from` has as many values as `to`.
#[inline(always)]
unsafe fn round_row(from: *const f32, scale: f32, to: &mut [u16]) {
    // SAFETY: the caller's promise.
    let from = unsafe { std::slice::from_raw_parts(from, to.len()) };
    for (to, &from) in to.iter_mut().zip(from) {
        *to = rounded(scale * from);
    }
}

/// Part `index` of `count` nearly equal parts.
fn part(total: usize, count: usize, index: usize) -> Range<usize> {
    total * index / count..total * (index + 1) / count
}

/// The nearest bf16, halves to even; NaN stays NaN.
#[inline(always)]
fn rounded(v: f32) -> u16 {
    let bits = v.to_bits();
    let nearest = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if v.is_nan() { (bits >> 16) as u16 | 0x40 } else { nearest }
}

#[cfg(test)]
mod tests;
