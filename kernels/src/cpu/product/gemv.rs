//! Few rows: the weights are read once, in order, at the speed of memory.
use super::finish::{Stretch, finish};
use super::{Product, Shared};
use crate::cpu::lanes::{Isa, Job, Lanes, Stored};
use crate::cpu::math::sum;
use crate::cpu::scratch::{self, Kind};
use rayon::prelude::*;

/// Weight bytes that one task streams: enough to hide its start, few enough to share out evenly.
const TASK_BYTES: usize = 1 << 18;

/// Weight rows in one pass over a row of x: their sums hide each other's latency.
const PASS: usize = 4;

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
/// product's sizes and that nobody else touches these columns of `out` meanwhile.
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
        let (p, count) = (self.product, self.count);
        let halves = 1 + usize::from(p.gated());
        let mut sums = scratch::take(Kind::Sums, p.rows * halves * count);
        for half in 0..halves {
            let w = &self.weights[(half * p.columns + self.first) * p.inner..][..count * p.inner];
            for column in (0..count).step_by(PASS) {
                let pass = PASS.min(count - column);
                let rows = std::array::from_fn(|i| &w[(column + i.min(pass - 1)) * p.inner..][..p.inner]);
                for row in 0..p.rows {
                    let at = (row * halves + half) * count + column;
                    // SAFETY: as this function's; all five slices have `inner` values.
                    let dots = unsafe { dots::<L, S>(&p.x[row * p.inner..][..p.inner], rows) };
                    sums[at..at + pass].copy_from_slice(&dots[..pass]);
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

/// Dot products of `x` with rows of the same length: two vectors of sums each, then the rest.
///
/// # Safety
/// As [`Lanes`]; the rows are as long as `x`.
#[inline(always)]
unsafe fn dots<L: Lanes, S: Stored>(x: &[f32], rows: [&[S]; PASS]) -> [f32; PASS] {
    let whole = x.len() / (2 * L::WIDTH) * 2 * L::WIDTH;
    // SAFETY: `x` and the rows have `x.len()` values.
    unsafe {
        let mut sums = [[L::splat(0.0); 2]; PASS];
        for k in (0..whole).step_by(2 * L::WIDTH) {
            let x = [L::load(x.as_ptr().add(k)), L::load(x.as_ptr().add(k + L::WIDTH))];
            for (sums, row) in sums.iter_mut().zip(&rows) {
                sums[0] = L::fma(x[0], S::load::<L>(row.as_ptr().add(k)), sums[0]);
                sums[1] = L::fma(x[1], S::load::<L>(row.as_ptr().add(k + L::WIDTH)), sums[1]);
            }
        }
        let mut dots = [0f32; PASS];
        for ((dot, sums), row) in dots.iter_mut().zip(&sums).zip(&rows) {
            let rest: f32 = x[whole..].iter().zip(&row[whole..]).map(|(x, w)| x * w.widen()).sum();
            *dot = sum::<L>(L::add(sums[0], sums[1])) + rest;
        }
        dots
    }
}
