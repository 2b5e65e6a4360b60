//! A volume in the making: shapes blended in one after the other.
//!
//! Only additions, products, quotients, square roots and rounding are used, which IEEE 754 defines to the last bit, so
//! a seed gives the same voxels on every machine.

use crate::draws::{Purpose, block};
use crate::view::{Point, View};

/// HU of air, in which everything lies.
const AIR: f32 = -1000.0;
/// Radius of a shape that runs on along its axis.
pub(crate) const THROUGH: f32 = 1e3;
/// Range of the stored values, as scanners have it.
const HU_RANGE: [f32; 2] = [-1024.0, 3071.0];

/// Where a quadratic form is below 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ellipsoid {
    /// In the patient's coordinates.
    pub centre: Point,
    /// Along z, y and x.
    pub radii: Point,
}

impl Ellipsoid {
    /// 0 at the centre, 1 on the surface.
    pub(crate) fn form(&self, at: Point) -> f32 {
        [0, 1, 2].map(|axis| self.part(at[axis], axis)).into_iter().sum()
    }

    /// One axis's part of the form.
    fn part(&self, at: f32, axis: usize) -> f32 {
        let offset = (at - self.centre[axis]) / self.radii[axis];
        offset * offset
    }
}

/// Voxels in HU, and how much of each is lesion.
pub(crate) struct Painting {
    /// Where the voxels lie.
    pub view: View,
    hu: Vec<f32>,
    /// 0 to 1; empty until there is a lesion.
    lesion: Vec<f32>,
}

impl Painting {
    /// Nothing but air.
    pub(crate) fn new(view: View) -> Self {
        let hu = vec![AIR; view.dims.iter().product()];
        Self { view, hu, lesion: Vec::new() }
    }

    /// Blends a shape in.
    pub(crate) fn paint(&mut self, shape: Ellipsoid, hu: f32) {
        let view = self.view;
        each(&view, shape, |index, _, weight| self.cover(index, hu, weight));
    }

    /// Blends a part of the lesion in: what of the shape is outside `hole`.
    pub(crate) fn paint_lesion(&mut self, shape: Ellipsoid, hole: Option<Ellipsoid>, hu: f32) {
        let Self { view, hu: voxels, lesion } = self;
        lesion.resize(voxels.len(), 0.0);
        let hole = hole.map(|hole| (hole, steepness(view, hole)));
        each(view, shape, |index, at, weight| {
            let filled = hole.map_or(0.0, |(hole, steepness)| weight_of(hole.form(at), steepness));
            let weight = weight * (1.0 - filled);
            blend(&mut voxels[index], hu, weight);
            blend(&mut lesion[index], 1.0, weight);
        });
    }

    /// Blends `hu` in as strongly as `weight` says, in all voxels above (nearer the head than) `z_max`.
    pub(crate) fn paint_above(&mut self, z_max: f32, hu: f32, weight: impl Fn(Point) -> f32) {
        let [slices, rows, columns] = self.view.dims;
        let axis = self.view.column_axis();
        for line in 0..slices * rows {
            let mut at = self.view.row(line / rows, line % rows);
            if at[0] >= z_max {
                continue;
            }
            for column in 0..columns {
                at[axis] = self.view.column(column);
                self.cover(line * columns + column, hu, weight(at));
            }
        }
    }

    /// Blends `hu` into a voxel, over the lesion too if there is one already.
    fn cover(&mut self, index: usize, hu: f32, weight: f32) {
        blend(&mut self.hu[index], hu, weight);
        if let Some(part) = self.lesion.get_mut(index) {
            blend(part, 0.0, weight);
        }
    }

    /// Adds noise, near enough to a normal distribution, and rounds to whole HU.
    pub(crate) fn add_noise(&mut self, seed: u64, deviation_hu: f32) {
        // The sum of four even bytes has a mean of 510 and a standard deviation of 147.8.
        let scale = deviation_hu / 147.8;
        for (index, voxels) in (0..).zip(self.hu.chunks_mut(4)) {
            for (voxel, word) in voxels.iter_mut().zip(block(seed, Purpose::Noise, index)) {
                let sum = word.to_le_bytes().iter().map(|&byte| i32::from(byte)).sum::<i32>() - 510;
                *voxel = (*voxel + sum as f32 * scale).round().clamp(HU_RANGE[0], HU_RANGE[1]);
            }
        }
    }

    /// How many voxels of each slice are more than half lesion; nothing where none was painted.
    pub(crate) fn lesion_voxels(&self) -> Vec<usize> {
        let slice = self.view.dims[1] * self.view.dims[2];
        self.lesion.chunks(slice).map(|parts| parts.iter().filter(|&&part| part > 0.5).count()).collect()
    }

    /// Which voxels are more than half lesion; empty where none was painted.
    pub(crate) fn lesion(&self) -> Vec<bool> {
        self.lesion.iter().map(|&part| part > 0.5).collect()
    }

    /// The voxels.
    pub(crate) fn into_hu(self) -> Vec<f32> {
        self.hu
    }
}

fn blend(value: &mut f32, towards: f32, weight: f32) {
    *value += weight * (towards - *value);
}

/// Calls back with the index, place and weight of every voxel that the shape may touch.
fn each(view: &View, shape: Ellipsoid, mut visit: impl FnMut(usize, Point, f32)) {
    let [slices, rows, columns] = view.dims;
    let steepness = steepness(view, shape);
    let axis = view.column_axis();
    let form_max = 1.0 + 0.5 / steepness;
    let others = [[1, 2], [0, 2], [0, 1]][axis];
    for slice in 0..slices {
        for row in 0..rows {
            let mut at = view.row(slice, row);
            let of_row: f32 = others.into_iter().map(|axis| shape.part(at[axis], axis)).sum();
            if of_row > form_max {
                continue;
            }
            let reach = (form_max - of_row).sqrt() * shape.radii[axis];
            for column in view.columns(shape.centre[axis] - reach, shape.centre[axis] + reach) {
                at[axis] = view.column(column);
                let weight = weight_of(of_row + shape.part(at[axis], axis), steepness);
                visit((slice * rows + row) * columns + column, at, weight);
            }
        }
    }
}

/// How much of a voxel a shape fills, from its form in the voxel's middle.
fn weight_of(form: f32, steepness: f32) -> f32 {
    ((1.0 - form) * steepness + 0.5).clamp(0.0, 1.0)
}

/// Makes a shape's edge about one pixel wide: the form changes by 2 / radius per millimetre there.
fn steepness(view: &View, shape: Ellipsoid) -> f32 {
    let radii = (0..3).map(|axis| shape.radii[axis] * view.half_mm[axis]);
    radii.fold(f32::INFINITY, f32::min) / (2.0 * view.pixel_mm())
}
