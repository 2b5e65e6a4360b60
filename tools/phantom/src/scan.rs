//! The volume of a case.

use crate::anatomy::Anatomy;
use crate::case::{Case, Lesion};
use crate::draws::{Draws, Purpose};
use crate::lesion;
use crate::painting::Painting;
use crate::view::View;

/// Slices, rows, columns of a small phantom.
pub const DIMS: [usize; 3] = [32, 64, 64];
/// Fewer slices, rows or columns do not show every lesion.
pub const SIDES_MIN: [usize; 3] = [16, 32, 32];
/// HU that become 0 and 1 in a prepared volume: wide enough for lung nodules' flesh and for contrast in vessels.
pub const WINDOW: [f32; 2] = [-200.0, 300.0];
/// A slice is touched by the lesion where it covers this part of it: 3 voxels of 64 x 64.
const TOUCHED: [usize; 2] = [3, 4096];

/// A volume and what is known of it.
pub struct Scan {
    /// Slices, rows, columns.
    pub dims: [usize; 3],
    /// Whole HU, slices by rows by columns as the plane shows them.
    pub hu: Vec<f32>,
    /// Between slices, rows and columns of an axial volume.
    pub spacing_mm: [f32; 3],
    /// First and last slice that the lesion touches.
    pub lesion_slices: Option<[usize; 2]>,
    /// Whether each voxel is more lesion than not; empty where there is no lesion.
    pub lesion: Vec<bool>,
}

impl Scan {
    /// Paints the case.
    pub fn new(case: &Case, dims: [usize; 3]) -> Self {
        let painting = paint(case, dims);
        let spacing_mm = [0, 1, 2].map(|axis| 2.0 * painting.view.half_mm[axis] / dims[axis] as f32);
        let lesion_slices = touched(&painting);
        let lesion = painting.lesion();
        Self { dims, hu: painting.into_hu(), spacing_mm, lesion_slices, lesion }
    }

    /// The voxels as M3D prepares them: within 0..1. The box is the body's, so that cropping to what is above 0 keeps
    /// all of it.
    pub fn prepared(&self) -> Vec<f32> {
        let [low, high] = WINDOW.map(f64::from);
        self.hu.iter().map(|&hu| ((f64::from(hu).clamp(low, high) - low) / (high - low)) as f32).collect()
    }
}

/// Body, lungs, an effusion, the organs, any other lesion, noise.
pub(crate) fn paint(case: &Case, dims: [usize; 3]) -> Painting {
    let mut draws = Draws::new(case.seed, Purpose::Body);
    let mut lesion_draws = Draws::new(case.seed, Purpose::Lesion);
    let half_mm = [190.0 + draws.about(8.0), 122.0 + draws.about(8.0), 178.0 + draws.about(10.0)];
    let anatomy = Anatomy::new(case, &mut draws);
    let noise_hu = draws.between(8.0, 13.0);
    let mut painting = Painting::new(View::new(case.plane, dims, half_mm));
    anatomy.paint_trunk(&mut painting);
    let effusion = case.finding.filter(|finding| finding.lesion == Lesion::Effusion);
    if let Some(finding) = effusion {
        lesion::paint_effusion(&mut painting, &anatomy, finding, &mut lesion_draws);
    }
    anatomy.paint_organs(&mut painting);
    if let (Some(finding), None) = (case.finding, effusion) {
        lesion::paint_solid(&mut painting, &anatomy, finding, &mut lesion_draws);
    }
    painting.add_noise(case.seed, noise_hu);
    painting
}

/// First and last slice of which the lesion covers enough to be seen.
pub(crate) fn touched(painting: &Painting) -> Option<[usize; 2]> {
    let [_, rows, columns] = painting.view.dims;
    let counts = painting.lesion_voxels();
    let seen = |&count: &usize| count * TOUCHED[1] >= TOUCHED[0] * rows * columns;
    let first = counts.iter().position(seen)?;
    let last = counts.iter().rposition(seen)?;
    Some([first, last])
}
