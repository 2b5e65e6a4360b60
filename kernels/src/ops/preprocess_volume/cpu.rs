//! Output slices in parallel; a source row is blended along columns and slices once for the rows of `out` that need it.
use super::{PreprocessVolume, Tap, taps};
use crate::Result;
use rayon::prelude::*;

pub(crate) fn run(mut op: PreprocessVolume<'_>) -> Result<()> {
    let shape = op.check()?;
    let ([_, rows, columns], [_, out_rows, out_columns]) = (shape.slab, shape.out);
    let slab = op.slab.host::<f32>()?;
    let scaling = Scaling::of(op.scale);
    let slice_taps = &taps(op.crop[0], shape.out[0])[shape.written.clone()];
    let [row_taps, column_taps] = [1, 2].map(|axis| taps(op.crop[axis], shape.out[axis]));
    let plane = out_rows * out_columns;
    let out = &mut op.out.host::<f32>()?[shape.written.start * plane..shape.written.end * plane];
    out.par_chunks_exact_mut(plane).zip(slice_taps).for_each(|(plane, slice)| {
        let line = |source: usize, row: usize| {
            let source = source - op.first_slice;
            &slab[(source * rows + row) * columns..][..columns]
        };
        // One source row at each of the two slices, resized along columns and blended between the slices.
        let blended = |row: usize, out: &mut [f32]| {
            let [near, far] = [slice.first, slice.second].map(|source| line(source, row));
            for (voxel, column) in out.iter_mut().zip(&column_taps) {
                let along =
                    |line: &[f32]| column.blend(scaling.apply(line[column.first]), scaling.apply(line[column.second]));
                *voxel = slice.blend(along(near), along(far));
            }
        };
        let mut held = [(usize::MAX, vec![0.0; out_columns]), (usize::MAX, vec![0.0; out_columns])];
        for (out, tap) in plane.chunks_exact_mut(out_columns).zip(&row_taps) {
            if held[1].0 == tap.first {
                held.swap(0, 1);
            }
            for (place, row) in [tap.first, tap.second].into_iter().enumerate() {
                if held[place].0 != row {
                    blended(row, &mut held[place].1);
                    held[place].0 = row;
                }
            }
            for (voxel, (above, below)) in out.iter_mut().zip(held[0].1.iter().zip(&held[1].1)) {
                *voxel = tap.blend(*above, *below);
            }
        }
    });
    Ok(())
}

impl Tap {
    fn blend(&self, first: f32, second: f32) -> f32 {
        first * (1.0 - self.weight) + second * self.weight
    }
}

/// Clipping to `low..high` and scaling of that range to 0..1, applied to each voxel as it is used.
#[derive(Clone, Copy)]
struct Scaling {
    low: f32,
    high: f32,
    base: f64,
    span: f64,
}

impl Scaling {
    fn of(scale: Option<[f32; 2]>) -> Self {
        let Some([low, high]) = scale else {
            return Self { low: f32::NEG_INFINITY, high: f32::INFINITY, base: 0.0, span: 1.0 };
        };
        Self { low, high, base: f64::from(low), span: f64::from(high) - f64::from(low) }
    }

    /// The scaled voxel, computed in f64.
    fn apply(self, voxel: f32) -> f32 {
        ((f64::from(voxel.clamp(self.low, self.high)) - self.base) / self.span) as f32
    }
}
