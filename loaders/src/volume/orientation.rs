//! Which stored axis runs along which body axis, and voxels moved into the one order that everything downstream sees.

use rayon::prelude::*;
use serde::Serialize;

use super::{Problem, SliceOrder};
use crate::memory::{self, OutOfMemory};

/// How the stored axes were turned into slices, rows and columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Orientation {
    /// Body direction of each stored axis, fastest first, as nibabel writes it ("RAS": to the right, then anterior and
    /// superior).
    pub source_axes: String,
    /// For slices, rows and columns of the volume that was read: the stored axis (0 is the fastest) they come from.
    pub from_axis: [usize; 3],
    /// For slices, rows and columns: whether they run against the stored axis.
    pub flipped: [bool; 3],
    /// Largest angle between a stored axis and the body axis that it was taken for.
    pub oblique_degrees: f64,
}

/// Angle below which a volume counts as straight: half a degree moves the border of a 512-voxel axis by 4 voxels.
const OBLIQUE_DEGREES_MIN: f64 = 0.5;

impl Orientation {
    /// The closest body axes of `columns`, the step in mm of each stored axis (fastest first) in RAS coordinates:
    /// slices superior first, rows anterior first, columns patient-right first (radiological display).
    pub(crate) fn closest(columns: &[[f64; 3]; 3], order: SliceOrder) -> Result<Self, Problem> {
        let directions = unit(columns).ok_or_else(|| {
            let finding = format!("has a singular or non-finite orientation ({columns:?} mm per voxel step)");
            Problem::new(finding, "write the file again with a valid sform, qform or ImageOrientationPatient")
        })?;
        const PERMUTATIONS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
        let fit = |axes: &[usize; 3]| (0..3).map(|world| directions[axes[world]][world].abs()).sum::<f64>();
        let axes = PERMUTATIONS.into_iter().reduce(|best, next| if fit(&next) > fit(&best) { next } else { best });
        let axes = axes.unwrap_or([0, 1, 2]);
        let mut source_axes = [' '; 3];
        let mut oblique_degrees = 0.0f64;
        for (world, &axis) in axes.iter().enumerate() {
            let along = directions[axis][world];
            source_axes[axis] = if along > 0.0 { ['R', 'A', 'S'][world] } else { ['L', 'P', 'I'][world] };
            oblique_degrees = oblique_degrees.max(along.abs().min(1.0).acos().to_degrees());
        }
        // Superior, anterior and patient-right first: against a stored axis that runs towards S, A or R.
        let towards = |world: usize| directions[axes[world]][world] > 0.0;
        let flip_slices = towards(2) != (order == SliceOrder::InferiorFirst);
        Ok(Self {
            source_axes: source_axes.iter().collect(),
            from_axis: [axes[2], axes[1], axes[0]],
            flipped: [flip_slices, towards(1), towards(0)],
            oblique_degrees,
        })
    }

    /// What the user should know about an oblique volume.
    pub(crate) fn note(&self) -> Option<String> {
        (self.oblique_degrees >= OBLIQUE_DEGREES_MIN).then(|| {
            let degrees = self.oblique_degrees;
            format!("the volume is oblique by {degrees:.1} degrees; its axes were taken for the closest body axes")
        })
    }

    /// Step in mm between slices, rows and columns.
    pub(crate) fn spacing(&self, columns: &[[f64; 3]; 3]) -> [f64; 3] {
        self.from_axis.map(|axis| norm(&columns[axis]))
    }
}

/// Length of a vector.
pub(crate) fn norm(vector: &[f64; 3]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// The vectors at length 1, if they are finite and span space.
fn unit(columns: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let lengths = columns.each_ref().map(norm);
    if !lengths.iter().all(|length| length.is_finite() && *length > 0.0) {
        return None;
    }
    let [a, b, c] = [0, 1, 2].map(|axis| columns[axis].map(|x| x / lengths[axis]));
    let volume = dot(&a, &cross(&b, &c)).abs();
    (volume > 1e-3).then_some([a, b, c])
}

/// Scalar product.
pub(crate) fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// Vector product.
pub(crate) fn cross(a: &[f64; 3], b: &[f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Voxels stored with `dims` (fastest first) as slices, rows and columns taken from the named stored axes.
pub(crate) fn reorder(
    mut voxels: Vec<f32>,
    dims: [usize; 3],
    from_axis: [usize; 3],
    flipped: [bool; 3],
) -> Result<(Vec<f32>, [usize; 3]), OutOfMemory> {
    let out_dims = from_axis.map(|axis| dims[axis]);
    if from_axis == [2, 1, 0] {
        flip(&mut voxels, out_dims, flipped);
        return Ok((voxels, out_dims));
    }
    let strides = [1, dims[0], dims[0] * dims[1]];
    let place = |out_axis: usize, index: usize| {
        let index = if flipped[out_axis] { out_dims[out_axis] - 1 - index } else { index };
        index * strides[from_axis[out_axis]]
    };
    let [_, rows, columns] = out_dims;
    let column_places: Vec<usize> = (0..columns).map(|column| place(2, column)).collect();
    let mut out = memory::filled(0.0, voxels.len())?;
    out.par_chunks_mut(rows * columns).enumerate().for_each(|(slice, plane)| {
        for (row, line) in plane.chunks_mut(columns).enumerate() {
            let start = place(0, slice) + place(1, row);
            for (voxel, &column) in line.iter_mut().zip(&column_places) {
                *voxel = voxels[start + column];
            }
        }
    });
    Ok((out, out_dims))
}

/// Reverses the flipped ones of slices, rows and columns in place: the axes of most scans need nothing else.
pub(crate) fn flip(voxels: &mut [f32], [slices, rows, columns]: [usize; 3], flipped: [bool; 3]) {
    let plane = rows * columns;
    if flipped[0] {
        reverse_blocks(voxels, slices, plane);
    }
    if flipped[1] || flipped[2] {
        voxels.par_chunks_mut(plane).for_each(|plane| {
            if flipped[1] {
                reverse_blocks(plane, rows, columns);
            }
            if flipped[2] {
                plane.chunks_mut(columns).for_each(<[f32]>::reverse);
            }
        });
    }
}

/// Puts the last of `count` blocks of `size` values first.
fn reverse_blocks(values: &mut [f32], count: usize, size: usize) {
    for block in 0..count / 2 {
        let (front, back) = values.split_at_mut((count - 1 - block) * size);
        front[block * size..][..size].swap_with_slice(&mut back[..size]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ras_is_flipped_on_every_axis_and_lpi_on_none() {
        let ras = [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 4.0]];
        let found = Orientation::closest(&ras, SliceOrder::SuperiorFirst).unwrap();
        assert_eq!((found.source_axes.as_str(), found.from_axis, found.flipped), ("RAS", [2, 1, 0], [true; 3]));
        assert_eq!(found.spacing(&ras), [4.0, 3.0, 2.0]);
        let lpi = ras.map(|column| column.map(|x| -x));
        let found = Orientation::closest(&lpi, SliceOrder::SuperiorFirst).unwrap();
        assert_eq!((found.source_axes.as_str(), found.flipped), ("LPI", [false; 3]));
        let found = Orientation::closest(&lpi, SliceOrder::InferiorFirst).unwrap();
        assert_eq!(found.flipped, [true, false, false]);
    }

    #[test]
    fn singular_and_non_finite_axes_are_refused() {
        for columns in [
            [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            [[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        ] {
            assert!(Orientation::closest(&columns, SliceOrder::SuperiorFirst).is_err(), "{columns:?}");
        }
    }

    #[test]
    fn reordering_moves_each_voxel_to_its_named_place() {
        // Stored [x 2, y 3, z 4]; the value spells its own place: 100 z + 10 y + x.
        let stored: Vec<f32> = (0..24).map(|i| (i / 6 * 100 + i / 2 % 3 * 10 + i % 2) as f32).collect();
        let (out, dims) = reorder(stored, [2, 3, 4], [1, 0, 2], [true, false, false]).unwrap();
        assert_eq!(dims, [3, 2, 4]);
        for (slice, row, column) in [(0, 0, 0), (2, 1, 3), (1, 0, 2)] {
            let want = (column * 100 + (2 - slice) * 10 + row) as f32;
            assert_eq!(out[(slice * 2 + row) * 4 + column], want);
        }
    }
    #[test]
    fn flips_in_place_are_the_flips_of_a_reordering() {
        // Slices 3, rows 2, columns 4; the value spells its own place: 100 slice + 10 row + column.
        let stored: Vec<f32> = (0..24).map(|i| (i / 8 * 100 + i / 4 % 2 * 10 + i % 4) as f32).collect();
        for flipped in [[true, false, false], [false, true, false], [false, false, true], [true, true, true]] {
            let (out, _) = reorder(stored.clone(), [4, 2, 3], [2, 1, 0], flipped).unwrap();
            let [s, r, c] =
                [(flipped[0], 2), (flipped[1], 1), (flipped[2], 3)].map(|(flip, last)| if flip { last } else { 0 });
            assert_eq!(out[0], (s * 100 + r * 10 + c) as f32, "{flipped:?}");
            assert_eq!(out[23], ((2 - s) * 100 + (1 - r) * 10 + 3 - c) as f32, "{flipped:?}");
        }
    }
}
