//! Products of bf16 weights with activations rounded to bf16, where the processor multiplies bf16 itself.
//!
//! A block is 32 weight rows by 32 rows of x: `outᵀ = W · xᵀ`, so that weights are read where the checkpoint has them
//! and only x is rounded and packed. Sums are f32. The block is written three times: AMX tiles, AVX-512 pairs, and a
//! plain twin that the tests run everywhere. Before the first use a processor's way is compared with the twin on sums
//! that are exact in any order; a difference leaves the exact path in use and shows in `Cpu`'s description.
//!
//! Neither AMX nor AVX-512 hardware was at hand when this was written (November 2026): there only the twin and the
//! driver around it were run.
use super::lanes::{Isa, Job, Lanes};
use super::product::{Product, Shared, Stretch, Weights, finish};
use super::scratch::{self, Kind};
use half::bf16;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod twin;

/// Weight rows, and rows of x, of a block.
const BLOCK: usize = 32;

/// Rows of x that a task packs: 512 KiB at 1024 inner values.
const TASK_ROWS: usize = 256;

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

/// Decides once.
pub(crate) fn offer() -> Offer {
    static OFFER: OnceLock<Offer> = OnceLock::new();
    *OFFER.get_or_init(|| match fastest() {
        None => Offer::Nothing,
        Some(way) if agrees_with_twin(way) => Offer::Checked(way),
        Some(way) => Offer::Refused(way),
    })
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

/// A block of integers small enough that every sum is exact, three steps deep, with a wider weight stride.
fn agrees_with_twin(way: Way) -> bool {
    let (inner, stride) = (3 * STEP, 4 * STEP);
    let integer = |i: usize, by: usize| bf16::from_f32((i * by % 257) as f32 - 128.0);
    let w: Vec<bf16> = (0..BLOCK * stride).map(|i| integer(i, 101)).collect();
    let x: Vec<bf16> = (0..BLOCK * inner).map(|i| integer(i, 73)).collect();
    let (mut want, mut got) = ([0f32; BLOCK * BLOCK], [f32::NAN; BLOCK * BLOCK]);
    block(Way::Twin, &w, stride, &x, inner, &mut want);
    block(way, &w, stride, &x, inner, &mut got);
    want == got
}

/// `sums = W · xᵀ` for 32 weight rows, `stride` elements apart, and 32 packed rows of x.
fn block(way: Way, w: &[bf16], stride: usize, x: &[bf16], inner: usize, sums: &mut Sums) {
    assert!(inner.is_multiple_of(STEP) && x.len() >= BLOCK * inner, "packed x holds the block");
    assert!(inner <= stride && w.len() >= (BLOCK - 1) * stride + inner, "weights hold the block");
    match way {
        Way::Twin => twin::block(w, stride, x, inner, sums),
        // SAFETY: sizes were just checked; only `fastest` makes these values, after it found the instructions.
        #[cfg(target_arch = "x86_64")]
        Way::Pairs => unsafe { pairs::block(w, stride, x, inner, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Way::Amx => unsafe { amx::block(w, stride, x, inner, sums) },
    }
}

/// Whether a product's sizes are whole blocks; all large ones of the released model are.
pub(crate) fn suits(product: &Product<'_>) -> bool {
    let whole = product.inner.is_multiple_of(STEP) && product.inner > 0 && product.columns.is_multiple_of(BLOCK);
    whole && matches!(product.weights, Weights::Bf16(_))
}

/// Runs a product that [`suits`].
pub(crate) fn run(way: Way, isa: Isa, product: &Product<'_>, weights: &[bf16], out: &mut [f32]) {
    let out = Shared(out.as_mut_ptr());
    let row_tasks = product.rows.div_ceil(TASK_ROWS);
    let blocks = product.columns / BLOCK;
    let column_tasks =
        (4 * rayon::current_num_threads()).div_ceil(row_tasks.max(1)).clamp(1, blocks.div_ceil(8).max(1));
    (0..row_tasks * column_tasks).into_par_iter().with_max_len(1).for_each(|task| {
        let (first, part) = (task / column_tasks * TASK_ROWS, task % column_tasks);
        let rows = first..product.rows.min(first + TASK_ROWS);
        let blocks = blocks * part / column_tasks..blocks * (part + 1) / column_tasks;
        isa.run(Task { way, product, weights, rows, blocks, out });
    });
}

/// Some rows of x by some blocks of weight rows.
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
        let panels = self.rows.len().div_ceil(BLOCK);
        let mut packed = scratch::take(Kind::Rows, panels * BLOCK * p.inner / 2);
        let mut strip = scratch::take(Kind::Panel, BLOCK * p.inner / 2);
        for (panel, to) in packed.chunks_exact_mut(BLOCK * p.inner / 2).take(panels).enumerate() {
            let first = self.rows.start + panel * BLOCK;
            let rows = first..self.rows.end.min(first + BLOCK);
            // SAFETY: both buffers hold 32 rows of pairs.
            unsafe { self.pack::<L>(rows, &mut strip, to) };
        }
        let packed: &[bf16] = bytemuck::cast_slice(&packed);
        let (mut sums, mut gates) = ([0f32; BLOCK * BLOCK], [0f32; BLOCK * BLOCK]);
        for index in self.blocks.clone() {
            for panel in 0..panels {
                let x = &packed[panel * BLOCK * p.inner..][..BLOCK * p.inner];
                let w = |row: usize| &self.weights[row * p.inner..];
                block(self.way, w(index * BLOCK), p.inner, x, p.inner, &mut gates);
                if p.gated() {
                    block(self.way, w(p.columns + index * BLOCK), p.inner, x, p.inner, &mut sums);
                }
                let first = self.rows.start + panel * BLOCK;
                for row in first..self.rows.end.min(first + BLOCK) {
                    // SAFETY: the task alone owns its rows and columns of the output.
                    unsafe { self.end::<L>(row, index * BLOCK, [&gates, &sums], row - first) };
                }
            }
        }
    }
}

impl Task<'_> {
    /// Rounds up to 32 rows of x to bf16, zeros for those that are missing, and lays pairs of neighbours side by side:
    /// two halves of 16 rows, `[inner / 2, 16, 2]` each.
    ///
    /// # Safety
    /// As [`Lanes`].
    #[inline(always)]
    unsafe fn pack<L: Lanes>(&self, rows: Range<usize>, strip: &mut [f32], to: &mut [f32]) {
        let (inner, pairs) = (self.product.inner, self.product.inner / 2);
        let strip = &mut strip[..BLOCK * pairs];
        strip[rows.len() * pairs..].fill(0.0);
        let x = &self.product.x[rows.start * inner..rows.end * inner];
        for (to, &from) in bytemuck::cast_slice_mut::<f32, u16>(strip).iter_mut().zip(x) {
            *to = rounded(from);
        }
        for group in (0..BLOCK).step_by(8) {
            let from = strip[group * pairs..].as_ptr();
            let to = to[group / 16 * 16 * pairs + group % 16..].as_mut_ptr();
            for pair in (0..pairs).step_by(8) {
                // SAFETY: eight rows of pairs, which are moved as if they were f32 values; `pairs` is a multiple of 16.
                unsafe { L::transpose8(from.add(pair), pairs, to.add(pair * 16), 16) };
            }
        }
    }

    /// Bias and activation for one row of x and one block's columns.
    ///
    /// # Safety
    /// As [`Lanes`]; the task owns the row and the columns.
    #[inline(always)]
    unsafe fn end<L: Lanes>(&self, row: usize, column: usize, sums: [&Sums; 2], at: usize) {
        let p = self.product;
        let [sums, values] = sums.map(|sums| -> [f32; BLOCK] { std::array::from_fn(|i| sums[i * BLOCK + at]) });
        let bias = p.bias.map(|bias| bias[column..].as_ptr());
        let out = self.out.0.wrapping_add(row * p.columns + column);
        let stretch = Stretch { sums: sums.as_ptr(), values: values.as_ptr(), bias, out, count: BLOCK };
        // SAFETY: the caller's promise.
        unsafe { finish::<L>(p.epilogue, stretch) };
    }
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
