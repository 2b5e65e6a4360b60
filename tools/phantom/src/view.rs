//! How voxels lie in the patient.

use crate::case::Plane;

/// A point or a step in the patient: z from -1 (superior) to 1, y from -1 (anterior) to 1, x from -1 (the patient's
/// right) to 1. The body's box is 1 in y and x; along z it goes on.
pub(crate) type Point = [f32; 3];

/// Sine and cosine of 45 degrees.
const DIAGONAL: f32 = std::f32::consts::FRAC_1_SQRT_2;

/// A volume's grid in the patient. Columns always run along one axis, y or x.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Slices, rows, columns.
    pub dims: [usize; 3],
    /// Half of the patient's size along z, y and x.
    pub half_mm: Point,
    /// From the middle of the volume to its last slice's far edge, and the same for rows.
    steps: [Point; 2],
    /// Along which columns run.
    column_axis: usize,
}

impl View {
    /// The patient's box cut along a plane.
    pub(crate) fn new(plane: Plane, dims: [usize; 3], half_mm: Point) -> Self {
        const ALONG: [Point; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let (steps, column_axis) = match plane {
            Plane::Axial => ([ALONG[0], ALONG[1]], 2),
            Plane::Coronal => ([ALONG[1], ALONG[0]], 2),
            Plane::Sagittal => ([ALONG[2], ALONG[0]], 1),
            Plane::Oblique => {
                // A square of the box's height, turned in millimetres.
                let y = DIAGONAL * (half_mm[0] / half_mm[1]);
                ([[-DIAGONAL, y, 0.0], [DIAGONAL, y, 0.0]], 2)
            }
        };
        Self { dims, half_mm, steps, column_axis }
    }

    /// Along which of z, y and x columns run.
    pub(crate) fn column_axis(&self) -> usize {
        self.column_axis
    }

    /// The middle of a row: where its columns' coordinate is 0.
    pub(crate) fn row(&self, slice: usize, row: usize) -> Point {
        let s = offset(slice, self.dims[0]);
        let r = offset(row, self.dims[1]);
        [0, 1, 2].map(|axis| s * self.steps[0][axis] + r * self.steps[1][axis])
    }

    /// The coordinate of a column's middle along the column axis.
    pub(crate) fn column(&self, column: usize) -> f32 {
        offset(column, self.dims[2])
    }

    /// The columns whose middles may lie in `low..high`, and a few more.
    pub(crate) fn columns(&self, low: f32, high: f32) -> std::ops::Range<usize> {
        let count = self.dims[2] as f32;
        let place = |at: f32| ((at + 1.0) * 0.5 * count).clamp(0.0, count);
        let first = (place(low) - 1.0).max(0.0) as usize;
        first..((place(high) + 1.0) as usize).min(self.dims[2])
    }

    /// Size of a voxel within its slice.
    pub(crate) fn pixel_mm(&self) -> f32 {
        let row: f32 = (0..3).map(|axis| self.steps[1][axis] * self.half_mm[axis]).map(|mm| mm * mm).sum();
        let column = self.half_mm[self.column_axis] / self.dims[2] as f32;
        row.sqrt() / self.dims[1] as f32 + column
    }
}

/// The middle of voxel `index` of `count`, where the edges are -1 and 1.
fn offset(index: usize, count: usize) -> f32 {
    (2 * index + 1) as f32 / count as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF_MM: Point = [190.0, 120.0, 180.0];

    fn view(plane: Plane) -> View {
        View::new(plane, [4, 8, 16], HALF_MM)
    }

    #[test]
    fn each_plane_runs_as_a_radiologist_sees_it() {
        let ends = |plane| {
            let view = view(plane);
            let first = view.row(0, 0);
            let last = view.row(3, 7);
            ([0, 1, 2].map(|axis| (last[axis] - first[axis]).total_cmp(&0.0) as i8), view.column_axis())
        };
        assert_eq!(ends(Plane::Axial), ([1, 1, 0], 2), "down, back, right to left");
        assert_eq!(ends(Plane::Coronal), ([1, 1, 0], 2), "back, down, right to left");
        assert_eq!(ends(Plane::Sagittal), ([1, 0, 1], 1), "right to left, down, back");
        assert_eq!(view(Plane::Axial).row(0, 0), [-0.75, -0.875, 0.0]);
        assert_eq!(view(Plane::Coronal).row(0, 0), [-0.875, -0.75, 0.0]);
        assert_eq!(view(Plane::Sagittal).row(0, 0), [-0.875, 0.0, -0.75]);
        assert_eq!(view(Plane::Axial).column(0), -0.9375);
    }

    #[test]
    fn oblique_slices_are_square_to_their_rows() {
        let view = view(Plane::Oblique);
        let mm = |step: Point| [0, 1, 2].map(|axis| step[axis] * HALF_MM[axis]);
        let [slices, rows] = view.steps.map(mm);
        let dot: f32 = (0..3).map(|axis| slices[axis] * rows[axis]).sum();
        assert!(dot.abs() < 0.1, "{dot}");
        for step in [slices, rows] {
            let length = step.iter().map(|mm| mm * mm).sum::<f32>().sqrt();
            assert!((length - 190.0).abs() < 0.01, "{length}");
        }
    }

    #[test]
    fn no_column_of_a_range_is_left_out() {
        let view = view(Plane::Axial);
        for (low, high) in [(-0.5, 0.5), (-2.0, 2.0), (0.9, 3.0), (-0.07, 0.07), (1.5, 2.0)] {
            let range = view.columns(low, high);
            let wanted = (0..16).filter(|&column| (low..=high).contains(&view.column(column)));
            assert!(range.end <= 16 && wanted.clone().all(|column| range.contains(&column)), "{low}..{high}");
        }
    }
}
