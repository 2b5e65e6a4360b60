//! Few rows: the weights are read once, in order, at the speed of memory.
use super::finish::{Stretch, finish};
use super::{Product, Shared};
use crate::cpu::lanes::{Isa, Job, Lanes, Stored};
use crate::cpu::math::sum;
use crate::cpu::scratch::{self, Kind};
use rayon::prelude::*;

/// Weight bytes that one task streams: enough to hide its start, few enough to share out evenly.
const TASK_BYTES: usize = 1 << 18;

/// Weight rows in one pass over rows of x: their sums hide each other's latency.
const PASS: usize = 4;

/// Rows of x in one pass, where there are two or more: a weight is loaded and widened once for both.
const PAIR: usize = 2;

/// Lanes from which a processor has registers for the sums of a pair with all rows of a pass: AVX-512 has 32 for the 16
/// sums, AVX2 has 16 in all.
const LANES_FOR_PAIRED_PASS: usize = 16;

pub(super) fn run<S: Stored>(isa: Isa, product: &Product<'_>, weights: &[S], out: &mut [f32]) {
    let columns = product.columns;
    let row_bytes = product.inner * size_of::<S>() * (1 + usize::from(product.gated()));
    let per_task = (TASK_BYTES / row_bytes.max(1)).clamp(8, 1024);
    let out = Shared(out.as_mut_ptr());
    (0..columns.div_ceil(per_task)).into_par_iter().for_each(|task| {
        let first = task * per_task;
        let task = Columns { product, weights, first, count: per_task.min(columns - first), out };
        // SAFETY: `Product::run` compared all slices with the sizes; tasks have disjoint columns of `out`.
        unsafe { isa.run(task) };
    });
}

/// A task: output columns `first..first + count` of all rows. Whoever runs it vouches that slices and `out` have the
/// product's sizes and that no other task touches these columns of `out` meanwhile.
struct Columns<'a, S> {
    product: &'a Product<'a>,
    weights: &'a [S],
    first: usize,
    count: usize,
    out: Shared,
}

impl<S: Stored> Job for Columns<'_, S> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let p = self.product;
        let count = self.count;
        let halves = 1 + usize::from(p.gated());
        let mut sums = scratch::take(Kind::Sums, p.rows * halves * count);
        for half in 0..halves {
            let w = &self.weights[(half * p.columns + self.first) * p.inner..][..count * p.inner];
            for column in (0..count).step_by(PASS) {
                let pass = PASS.min(count - column);
                let rows = std::array::from_fn(|i| &w[(column + i.min(pass - 1)) * p.inner..][..p.inner]);
                let x_row = |row: usize| &p.x[row * p.inner..][..p.inner];
                let mut keep = |row: usize, dots: [f32; PASS]| {
                    let at = (row * halves + half) * count + column;
                    sums[at..at + pass].copy_from_slice(&dots[..pass]);
                };
                for row in (0..p.rows).step_by(PAIR) {
                    if row + 1 < p.rows {
                        // SAFETY: as this function's; all slices have `inner` values.
                        let dots = unsafe { paired_dots::<L, S>([x_row(row), x_row(row + 1)], rows) };
                        keep(row, dots[0]);
                        keep(row + 1, dots[1]);
                    } else {
                        // SAFETY: as above.
                        let dots = unsafe { dots::<L, S, 1, PASS>([x_row(row)], rows) };
                        keep(row, dots[0]);
                    }
                }
            }
        }
        for row in 0..p.rows {
            let sums = sums[row * halves * count..].as_ptr();
            let values = sums.wrapping_add(count);
            // SAFETY: the row's sums were just written; this task alone writes these columns of the output.
            unsafe {
                let out = self.out.0.add(row * p.columns + self.first);
                let bias = p.bias.map(|bias| bias.as_ptr().add(self.first));
                finish::<L>(p.epilogue, Stretch { sums, values, bias, out, count });
            }
        }
    }
}

/// As [`dots`], for a pair of rows of x, in as many sums at a time as the registers hold.
///
/// # Safety
/// As [`dots`].
#[inline(always)]
unsafe fn paired_dots<L: Lanes, S: Stored>(x: [&[f32]; PAIR], rows: [&[S]; PASS]) -> [[f32; PASS]; PAIR] {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        if L::WIDTH >= LANES_FOR_PAIRED_PASS {
            return dots::<L, S, PAIR, PASS>(x, rows);
        }
        let [first, second, third, fourth] = rows;
        let left = dots::<L, S, PAIR, 2>(x, [first, second]);
        let right = dots::<L, S, PAIR, 2>(x, [third, fourth]);
        std::array::from_fn(|row| [left[row][0], left[row][1], right[row][0], right[row][1]])
    }
}

/// Dot products of `R` rows of x with `P` rows of weights, all of one length: two vectors of sums each, then the rest.
/// A product's bits depend on neither `R` nor `P`.
///
/// # Safety
/// As [`Lanes`]; all rows are as long as the first row of x.
#[inline(always)]
unsafe fn dots<L: Lanes, S: Stored, const R: usize, const P: usize>(x: [&[f32]; R], rows: [&[S]; P]) -> [[f32; P]; R] {
    let whole = x[0].len() / (2 * L::WIDTH) * 2 * L::WIDTH;
    // SAFETY: all rows have `x[0].len()` values.
    unsafe {
        let mut sums = [[[L::splat(0.0); 2]; P]; R];
        for k in (0..whole).step_by(2 * L::WIDTH) {
            let mut here = [[L::splat(0.0); 2]; R];
            for (here, x) in here.iter_mut().zip(&x) {
                *here = [L::load(x.as_ptr().add(k)), L::load(x.as_ptr().add(k + L::WIDTH))];
            }
            for (p, row) in rows.iter().enumerate() {
                let w = [S::load::<L>(row.as_ptr().add(k)), S::load::<L>(row.as_ptr().add(k + L::WIDTH))];
                for (sums, x) in sums.iter_mut().zip(&here) {
                    sums[p][0] = L::fma(x[0], w[0], sums[p][0]);
                    sums[p][1] = L::fma(x[1], w[1], sums[p][1]);
                }
            }
        }
        let mut dots = [[0f32; P]; R];
        for ((dots, sums), x) in dots.iter_mut().zip(&sums).zip(&x) {
            for ((dot, sums), row) in dots.iter_mut().zip(sums).zip(&rows) {
                let rest: f32 = x[whole..].iter().zip(&row[whole..]).map(|(x, w)| x * w.widen()).sum();
                *dot = sum::<L>(L::add(sums[0], sums[1])) + rest;
            }
        }
        dots
    }
}
