//! Slices in parallel: the range, the box, then every voxel of the output from its eight neighbours.
use super::{Intensity, PreprocessVolume};
use crate::Result;
use rayon::prelude::*;

pub(crate) fn run(mut op: PreprocessVolume<'_>) -> Result<()> {
    let [size, resized] = op.check()?;
    let volume = op.volume.host::<f32>()?;
    let scaling = Scaling::of(volume, op.intensity);
    let crop = scaling.and_then(|scaling| Some((scaling, foreground(volume, size, scaling)?)));
    let (crop_out, out) = (op.crop.host::<u32>()?, op.out.host::<f32>()?);
    let Some((scaling, crop)) = crop else {
        crop_out.fill(0);
        out.fill(f32::NAN);
        return Ok(());
    };
    for (out, &bound) in crop_out.iter_mut().zip(crop.as_flattened()) {
        *out = bound as u32;
    }
    let [slice_taps, row_taps, column_taps] = [0, 1, 2].map(|axis| taps(crop[axis], resized[axis]));
    out.par_chunks_exact_mut(resized[1] * resized[2]).zip(&slice_taps).for_each(|(plane, slice)| {
        for (line, row) in plane.chunks_exact_mut(resized[2]).zip(&row_taps) {
            for (out, column) in line.iter_mut().zip(&column_taps) {
                let at = |n: usize, y: usize, x: usize| scaling.apply(volume[(n * size[1] + y) * size[2] + x]);
                let along = |n, y| column.blend(|x| at(n, y, x));
                *out = row.blend(|y| slice.blend(|n| along(n, y)));
            }
        }
    });
    Ok(())
}

/// Clipping to `low..high` and scaling of that range to 0..1.
#[derive(Clone, Copy)]
struct Scaling {
    low: f32,
    high: f32,
    base: f64,
    span: f64,
}

impl Scaling {
    /// `None` for a volume that is constant.
    fn of(volume: &[f32], intensity: Intensity) -> Option<Self> {
        let join = |a: [f32; 2], b: [f32; 2]| [a[0].min(b[0]), a[1].max(b[1])];
        let none = [f32::INFINITY, f32::NEG_INFINITY];
        let range = || volume.par_iter().map(|&v| [v, v]).reduce(|| none, join);
        let [low, high] = match intensity {
            Intensity::Prepared => {
                return Some(Self { low: f32::NEG_INFINITY, high: f32::INFINITY, base: 0.0, span: 1.0 });
            }
            Intensity::MinMax => range(),
            Intensity::Window([from, to]) => range().map(|bound| bound.clamp(from, to)),
        };
        (low < high).then(|| Self { low, high, base: low.into(), span: f64::from(high) - f64::from(low) })
    }

    fn apply(self, voxel: f32) -> f32 {
        ((f64::from(voxel.clamp(self.low, self.high)) - self.base) / self.span) as f32
    }
}

/// The box of voxels above 0.
fn foreground(volume: &[f32], size: [usize; 3], scaling: Scaling) -> Option<[[usize; 2]; 3]> {
    let none = [[usize::MAX, 0]; 3];
    let join = |a: [[usize; 2]; 3], b: [[usize; 2]; 3]| {
        [0, 1, 2].map(|axis| [a[axis][0].min(b[axis][0]), a[axis][1].max(b[axis][1])])
    };
    let in_row = |(row, line): (usize, &[f32])| {
        let is_above = |&voxel: &f32| scaling.apply(voxel) > 0.0;
        let Some(first) = line.iter().position(is_above) else { return none };
        let last = line.iter().rposition(is_above).unwrap_or(first);
        let (slice, row) = (row / size[1], row % size[1]);
        [[slice, slice + 1], [row, row + 1], [first, last + 1]]
    };
    let found = volume.par_chunks_exact(size[2]).enumerate().map(in_row).reduce(|| none, join);
    (found != none).then_some(found)
}

/// Where one output index samples its axis: `weight` belongs to `second`.
struct Tap {
    first: usize,
    second: usize,
    weight: f32,
}

impl Tap {
    fn blend(&self, at: impl Fn(usize) -> f32) -> f32 {
        at(self.first) * (1.0 - self.weight) + at(self.second) * self.weight
    }
}

/// Half-pixel sampling of `start..end` at `size` places.
fn taps([start, end]: [usize; 2], size: usize) -> Vec<Tap> {
    let length = end - start;
    let ratio = length as f32 / size as f32;
    let tap = |index: usize| {
        let place = ((index as f32 + 0.5) * ratio - 0.5).max(0.0);
        let first = (place as usize).min(length - 1);
        let weight = (place - first as f32).clamp(0.0, 1.0);
        Tap { first: start + first, second: start + (first + 1).min(length - 1), weight }
    };
    (0..size).map(tap).collect()
}
