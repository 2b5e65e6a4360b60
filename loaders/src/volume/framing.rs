//! What of a volume a model is to see: the intensities that become 0 and 1, and the box around what is not air.
//!
//! The arithmetic of MONAI 1.3's `CropForeground()`. The engine scales and resizes the box, on its device.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{AppliedWindow, RawVolume, VolumeKind, VolumeOptions, WindowDecision, decide};
use crate::error::{Error, Result};

/// A volume with what a look at all of its voxels tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Framed<'a> {
    /// The volume's voxels, all of them finite.
    pub voxels: Cow<'a, [f32]>,
    /// The intensities that become 0 and 1; none for a prepared volume, which is taken as it is.
    pub scale: Option<[f32; 2]>,
    /// The tight box of voxels above 0: first index and one past the last, for slices, rows, columns.
    pub crop: [[usize; 2]; 3],
    /// What is clipped, and who wanted it.
    pub window: AppliedWindow,
    /// What the user should know, the reader's notes included.
    pub warnings: Vec<String>,
}

/// Looks at all voxels of `raw`. Those that are not finite take the smallest value, with a warning, as the readers have
/// it.
///
/// # Errors
/// The voxels are not as many as `raw.dims` says, none of them is finite, or all are the same; a prepared volume holds
/// values outside 0..1; the window leaves nothing to see, or the scan's own is asked for and it has none.
pub fn frame<'a>(raw: &'a RawVolume, options: &VolumeOptions) -> Result<Framed<'a>> {
    let found = raw.check()?;
    let mut warnings = raw.info.notes.clone();
    let mut voxels = Cow::Borrowed(&raw.voxels[..]);
    if found.bad > 0 {
        warnings.extend(found.repair(voxels.to_mut()));
    }
    let WindowDecision { applied, notes } = decide(raw, &found, options)?;
    warnings.extend(notes);
    let window = applied.window;
    let scale = match raw.kind {
        VolumeKind::Prepared => None,
        VolumeKind::Intensity => Some(found.range.map(|end| end.clamp(window.lo(), window.hi()))),
    };
    let crop = foreground(&voxels, raw.dims, scale).ok_or_else(|| {
        Error::bad_input("volume", "holds no voxel above 0, so there is nothing to see", "give another volume")
    })?;
    Ok(Framed { voxels, scale, crop, window: applied, warnings })
}

/// The share of a scale up to which f32 rounds a scaled voxel to 0: half of the smallest number above 0.
const ZERO_MAX: f64 = 7.006_492_321_624_085e-46;

/// The tight box of voxels that are above 0 when scaled.
fn foreground(voxels: &[f32], [slices, rows, columns]: [usize; 3], scale: Option<[f32; 2]>) -> Option<[[usize; 2]; 3]> {
    /// One box around both.
    fn join(a: Option<[[usize; 2]; 3]>, b: Option<[[usize; 2]; 3]>) -> Option<[[usize; 2]; 3]> {
        match (a, b) {
            (Some(a), Some(b)) => Some([0, 1, 2].map(|axis| [a[axis][0].min(b[axis][0]), a[axis][1].max(b[axis][1])])),
            (a, b) => a.or(b),
        }
    }
    let is_above = |voxel: f32| match scale {
        Some([low, high]) => {
            let [low, voxel, high] = [low, voxel.clamp(low, high), high].map(f64::from);
            (voxel - low) / (high - low) > ZERO_MAX
        }
        None => voxel > 0.0,
    };
    let in_slice = |slice: usize| {
        let plane = &voxels[slice * rows * columns..][..rows * columns];
        let in_row = |(row, line): (usize, &[f32])| {
            let first = line.iter().position(|&voxel| is_above(voxel))?;
            let last = line.iter().rposition(|&voxel| is_above(voxel))?;
            Some([[slice, slice + 1], [row, row + 1], [first, last + 1]])
        };
        plane.chunks(columns).enumerate().map(in_row).fold(None, join)
    };
    (0..slices).into_par_iter().map(in_slice).reduce(|| None, join)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_box_is_tight() {
        let mut voxels = vec![0.0; 4 * 5 * 6];
        voxels[(5 + 2) * 6 + 3] = 0.5;
        voxels[(2 * 5 + 4) * 6 + 1] = 0.1;
        voxels[0] = -1.0;
        assert_eq!(foreground(&voxels, [4, 5, 6], None), Some([[1, 3], [2, 5], [1, 4]]));
        assert_eq!(foreground(&[0.0; 8], [2, 2, 2], None), None);
    }

    /// What becomes 0 in f32 is air, and the smallest number above it is not.
    #[test]
    fn the_box_is_of_what_f32_holds() {
        for (voxel, kept) in [(0.0, false), (1e-46, false), (1.5e-45, true), (1.0, true)] {
            assert_eq!(foreground(&[voxel], [1, 1, 1], None).is_some(), kept, "{voxel:e}");
        }
        let scale = Some([0.0, f32::MAX]);
        for (voxel, kept) in [(1e-7, false), (2.2e-7, false), (2.5e-7, true), (3.0, true)] {
            let scaled = (f64::from(voxel) / f64::from(f32::MAX)) as f32;
            assert_eq!((foreground(&[voxel], [1, 1, 1], scale).is_some(), scaled > 0.0), (kept, kept), "{voxel:e}");
        }
    }
}
