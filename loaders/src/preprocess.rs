//! From a volume as read to the tensor that the model sees: window, scale to 0..1, crop to what is not air, resize.
//!
//! The arithmetic of MONAI 1.3's `CropForeground()` and `Resize(mode="trilinear")`, which the official code applies.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::memory::{self, OutOfMemory};
use crate::volume::{AppliedWindow, RawVolume, VOXELS_MAX, VolumeKind, VolumeOptions, Window, WindowDecision, decide};

/// A volume ready for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct PreparedVolume {
    /// Slices by rows by columns, within 0..1.
    pub voxels: Vec<f32>,
    /// Slices, rows, columns: the size that was asked for.
    pub dims: [usize; 3],
    /// For each slice: the first and last slice of the volume as read that contribute to it.
    pub source_slices: Vec<[usize; 2]>,
    /// The box that was kept of the volume as read: first index and one past the last, for slices, rows, columns.
    pub crop: [[usize; 2]; 3],
    /// What was clipped, and who wanted it.
    pub window: AppliedWindow,
    /// What the user should know, the reader's notes included.
    pub warnings: Vec<String>,
}

/// Turns `raw` into the model's input of `img_size` slices, rows and columns. Voxels that are not finite take the
/// smallest value, with a warning, as the readers have it.
///
/// # Errors
/// The voxels are not as many as `raw.dims` says, none of them is finite, or all are the same; a prepared volume holds
/// values outside 0..1; the window leaves nothing to see, or the scan's own is asked for and it has none; `img_size`
/// has a zero or is of more than [`VOXELS_MAX`] voxels; memory runs out.
pub fn prepare(raw: &RawVolume, img_size: [usize; 3], options: &VolumeOptions) -> Result<PreparedVolume> {
    let wanted = img_size.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
    if !wanted.is_some_and(|wanted| (1..=VOXELS_MAX).contains(&wanted)) {
        let finding = format!("cannot be resized to {img_size:?}");
        let remedy = format!("give three sizes of 1 or more, with a product of at most {VOXELS_MAX}");
        return Err(Error::bad_input("volume", finding, remedy));
    }
    let found = raw.check()?;
    let mut warnings = raw.info.notes.clone();
    let mut finite = Cow::Borrowed(&raw.voxels[..]);
    if found.bad > 0 {
        warnings.extend(found.repair(finite.to_mut()));
    }
    let WindowDecision { applied, notes } = decide(raw, &found, options)?;
    warnings.extend(notes);
    let scaling = match raw.kind {
        VolumeKind::Prepared => Scaling::NONE,
        VolumeKind::Intensity => Scaling::of(found.range, applied.window),
    };
    let crop = foreground(&finite, raw.dims, scaling).ok_or_else(|| {
        Error::bad_input("volume", "holds no voxel above 0, so there is nothing to see", "give another volume")
    })?;
    let (voxels, source_slices) =
        resize(&finite, raw.dims, crop, img_size, scaling).map_err(|lack| Error::out_of_memory("volume", lack))?;
    Ok(PreparedVolume { voxels, dims: img_size, source_slices, crop, window: applied, warnings })
}

/// Clipping to `low..high` and scaling of that range to 0..1, applied to each voxel as it is used.
#[derive(Debug, Clone, Copy)]
struct Scaling {
    low: f32,
    high: f32,
    base: f64,
    span: f64,
}

impl Scaling {
    /// Voxels as they are.
    const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY, base: 0.0, span: 1.0 };

    /// Scaling of the window's part of `range`, of which the window must show something.
    fn of([low, high]: [f32; 2], window: Window) -> Self {
        let [low, high] = [low, high].map(|end| end.clamp(window.lo(), window.hi()));
        Self { low, high, base: f64::from(low), span: f64::from(high) - f64::from(low) }
    }

    /// The scaled voxel, computed in f64.
    fn apply(self, voxel: f32) -> f32 {
        ((f64::from(voxel.clamp(self.low, self.high)) - self.base) / self.span) as f32
    }
}

/// The tight box of voxels that are above 0 when scaled.
fn foreground(voxels: &[f32], [slices, rows, columns]: [usize; 3], scaling: Scaling) -> Option<[[usize; 2]; 3]> {
    /// One box around both.
    fn join(a: Option<[[usize; 2]; 3]>, b: Option<[[usize; 2]; 3]>) -> Option<[[usize; 2]; 3]> {
        match (a, b) {
            (Some(a), Some(b)) => Some([0, 1, 2].map(|axis| [a[axis][0].min(b[axis][0]), a[axis][1].max(b[axis][1])])),
            (a, b) => a.or(b),
        }
    }
    let in_slice = |slice: usize| {
        let plane = &voxels[slice * rows * columns..][..rows * columns];
        let in_row = |(row, line): (usize, &[f32])| {
            let first = line.iter().position(|&voxel| scaling.apply(voxel) > 0.0)?;
            let last = line.iter().rposition(|&voxel| scaling.apply(voxel) > 0.0)?;
            Some([[slice, slice + 1], [row, row + 1], [first, last + 1]])
        };
        plane.chunks(columns).enumerate().map(in_row).fold(None, join)
    };
    (0..slices).into_par_iter().map(in_slice).reduce(|| None, join)
}

/// Where one output index samples its axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tap {
    first: usize,
    second: usize,
    /// Weight of `second`; `first` has the rest.
    weight: f32,
}

/// Half-pixel sampling of `[start, end)` at `size` places, in f32 as PyTorch computes it.
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

/// Trilinear resize of a box; with a box of the wanted size every weight is 0 and it is a copy.
fn resize(
    voxels: &[f32],
    [_, rows, columns]: [usize; 3],
    crop: [[usize; 2]; 3],
    size: [usize; 3],
    scaling: Scaling,
) -> Result<(Vec<f32>, Vec<[usize; 2]>), OutOfMemory> {
    let [slice_taps, row_taps, column_taps] = [0, 1, 2].map(|axis| taps(crop[axis], size[axis]));
    let mut out = memory::filled(0.0, size.iter().product())?;
    let plane_out = size[1] * size[2];
    out.par_chunks_mut(plane_out).zip(&slice_taps).for_each(|(plane, slice_tap)| {
        let line = |slice: usize, row: usize| &voxels[(slice * rows + row) * columns..][..columns];
        // One source row at each of the two slices, resized along columns and blended between the slices.
        let blended = |row: usize, out: &mut [f32]| {
            let (near, far) = (line(slice_tap.first, row), line(slice_tap.second, row));
            for (voxel, tap) in out.iter_mut().zip(&column_taps) {
                let along = |line: &[f32]| {
                    let [first, second] = [tap.first, tap.second].map(|column| scaling.apply(line[column]));
                    first * (1.0 - tap.weight) + second * tap.weight
                };
                *voxel = along(near) * (1.0 - slice_tap.weight) + along(far) * slice_tap.weight;
            }
        };
        let mut held = [(usize::MAX, vec![0.0; size[2]]), (usize::MAX, vec![0.0; size[2]])];
        for (out, tap) in plane.chunks_mut(size[2]).zip(&row_taps) {
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
                *voxel = above * (1.0 - tap.weight) + below * tap.weight;
            }
        }
    });
    let contributing = |tap: &Tap| [tap.first, if tap.weight > 0.0 { tap.second } else { tap.first }];
    Ok((out, slice_taps.iter().map(contributing).collect()))
}

/// Writes `voxels` as M3D's prepared format: a .npy of shape (1, slices, rows, columns), f32.
///
/// # Errors
/// The file cannot be written; `dims` does not multiply to the number of voxels.
pub fn write_npy(path: &Path, dims: [usize; 3], voxels: &[f32]) -> Result<()> {
    let count = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    if count != Some(voxels.len()) {
        let finding = format!("is to hold {} voxels of the sizes {dims:?}", voxels.len());
        return Err(Error::bad_input(path, finding, "give as many voxels as the product of the sizes"));
    }
    let [slices, rows, columns] = dims;
    let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {slices}, {rows}, {columns}), }}");
    // The data starts at a multiple of 64 bytes; the header ends with a newline.
    let padded = (10 + dict.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16).to_le_bytes());
    bytes.extend(format!("{dict:<width$}\n", width = padded - 1).bytes());
    let write = || {
        let mut file = BufWriter::new(std::fs::File::create(path)?);
        file.write_all(&bytes)?;
        voxels.iter().try_for_each(|voxel| file.write_all(&voxel.to_le_bytes()))?;
        file.flush()
    };
    write().map_err(|error| Error::io(path, "write", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_are_half_pixel_and_clamped() {
        // 2 -> 4 along an axis that starts at 5: places -0.25, 0.25, 0.75, 1.25, the first clamped to 0.
        let got = taps([5, 7], 4);
        let want = [(5, 6, 0.0), (5, 6, 0.25), (5, 6, 0.75), (6, 6, 0.25)];
        assert_eq!(got, want.map(|(first, second, weight)| Tap { first, second, weight }));
        // One slice stretched to three: all of them are that slice.
        assert!(taps([0, 1], 3).iter().all(|tap| tap.first == 0 && tap.second == 0));
    }

    #[test]
    fn a_box_of_the_wanted_size_is_copied() {
        let voxels: Vec<f32> = (0..60).map(|i| i as f32 / 60.0).collect();
        let (out, sources) = resize(&voxels, [3, 4, 5], [[0, 3], [0, 4], [0, 5]], [3, 4, 5], Scaling::NONE).unwrap();
        assert_eq!(out, voxels);
        assert_eq!(sources, [[0, 0], [1, 1], [2, 2]]);
    }

    #[test]
    fn the_box_is_tight() {
        let mut voxels = vec![0.0; 4 * 5 * 6];
        voxels[(5 + 2) * 6 + 3] = 0.5;
        voxels[(2 * 5 + 4) * 6 + 1] = 0.1;
        voxels[0] = -1.0;
        assert_eq!(foreground(&voxels, [4, 5, 6], Scaling::NONE), Some([[1, 3], [2, 5], [1, 4]]));
        assert_eq!(foreground(&[0.0; 8], [2, 2, 2], Scaling::NONE), None);
    }
}
