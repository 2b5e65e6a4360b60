//! Panels of weights: `[depth, 2 · WIDTH]`, widened, so that a register tile reads them in order.
use crate::cpu::lanes::{Lanes, Stored};

/// Up to eight runs of stored values that become eight columns of a panel.
#[derive(Clone, Copy)]
pub(crate) struct Runs<S> {
    /// The first run's first value.
    pub at: *const S,
    /// Values from one run to the next.
    pub stride: usize,
    /// Runs there are; the columns beyond are zero.
    pub count: usize,
}

/// Packs `depth` values of each run as columns `0..8` of `to`, whose rows are `to_stride` apart.
///
/// # Safety
/// As [`Lanes`]; the runs have `depth` values and `to` has `depth` rows.
#[inline(always)]
pub(crate) unsafe fn columns8<L: Lanes, S: Stored>(runs: Runs<S>, depth: usize, to: *mut f32, to_stride: usize) {
    let whole = if runs.count < 8 { 0 } else { depth / 8 * 8 };
    // SAFETY: all addresses lie within what the caller promised.
    unsafe {
        for k in (0..whole).step_by(8) {
            L::transpose8(runs.at.add(k), runs.stride, to.add(k * to_stride), to_stride);
        }
        for k in whole..depth {
            for run in 0..8 {
                let value = if run < runs.count { (*runs.at.add(run * runs.stride + k)).widen() } else { 0.0 };
                *to.add(k * to_stride + run) = value;
            }
        }
    }
}
