//! `preprocess_volume`: from a slab of a volume as read to slices of the one that the encoders see.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};
use std::ops::Range;

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// A box of voxels: first and one past the last of its slices, rows and columns.
pub type Crop = [[usize; 2]; 3];

/// Scales intensities and resizes a box of voxels trilinearly, with half-pixel centres.
///
/// The arithmetic of MONAI 1.3's `Resize(mode="trilinear")` behind its scaling: intensities are scaled in f64 and
/// rounded to f32, places along an axis and blends are f32, along columns first, then slices, then rows. Every device
/// gives the same bits.
///
/// The volume is given in slabs of slices, since the memory of a GPU is for the model: a call writes those slices of
/// `out` whose two source slices lie in the slab, [`written`], and leaves the others as they are.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or is 0, the box is empty or leaves the slab's rows
/// and columns, or the scale does not rise or is not finite.
pub struct PreprocessVolume<'a> {
    /// `[slices, height, width]`, f32, finite.
    pub slab: View<'a>,
    /// The slab's first slice in the volume.
    pub first_slice: usize,
    /// The intensities that become 0 and 1; those outside are clipped. Without, voxels are taken as they are.
    pub scale: Option<[f32; 2]>,
    /// The part of the volume that is resized.
    pub crop: Crop,
    /// `[out slices, out height, out width]`, f32.
    pub out: ViewMut<'a>,
}

/// The sizes of a call that keeps the contract.
pub(crate) struct Shape {
    pub slab: [usize; 3],
    pub out: [usize; 3],
    /// The slices of `out` that the call writes.
    pub written: Range<usize>,
}

impl PreprocessVolume<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let plane = self.out.bytes() / self.out.dims().as_slice()[0].max(1);
        let slices = self.check().map_or(0, |shape| shape.written.len());
        // Seven blends of three operations.
        Work::of(&[&self.slab], &[], 21 * slices * plane / size_of::<f32>()).and_bytes(slices * plane)
    }

    /// Checks the contract.
    pub(crate) fn check(&self) -> Result<Shape> {
        const SIZES: [[&str; 3]; 2] = [["slices", "height", "width"], ["out slices", "out height", "out width"]];
        let mut dims = DimCheck::new("preprocess_volume");
        dims.typed("slab", &self.slab, DType::F32, &SIZES[0])?;
        dims.output("out", &self.out, &SIZES[1])?;
        let found = self.out.dtype();
        dims.require(found == DType::F32, || format!("out holds {found:?}, wanted F32"))?;
        let [slab, out] = SIZES.map(|names| names.map(|name| dims.size(name)));
        for (tensor, size) in [("slab", slab), ("out", out)] {
            dims.require(!size.contains(&0), || format!("{tensor} is {size:?}, wanted sizes above 0"))?;
        }
        let crop = self.crop;
        let is_inside = crop[1][1] <= slab[1] && crop[2][1] <= slab[2];
        let is_box = crop.iter().all(|[first, end]| first < end);
        dims.require(is_box && is_inside, || {
            format!("crop is {crop:?}, wanted a box that has voxels, in slices of {} by {}", slab[1], slab[2])
        })?;
        if let Some([low, high]) = self.scale {
            let rises = low.is_finite() && high.is_finite() && low < high;
            dims.require(rises, || format!("scale is {low}..{high}, wanted finite numbers that rise"))?;
        }
        let last_slice = self.first_slice.checked_add(slab[0]);
        dims.require(last_slice.is_some(), || format!("first_slice is {}, too large a number", self.first_slice))?;
        let slices = self.first_slice..last_slice.unwrap_or_default();
        Ok(Shape { slab, out, written: written(&taps(crop[0], out[0]), &slices) })
    }
}

/// Where an output index samples its axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tap {
    /// Below the place.
    pub first: usize,
    /// Above it, or the same at an end.
    pub second: usize,
    /// The weight of `second`; `first` has the rest.
    pub weight: f32,
}

/// Half-pixel sampling of `first..end` at `size` places, in f32 as PyTorch computes it.
pub fn taps([start, end]: [usize; 2], size: usize) -> Vec<Tap> {
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

/// The outputs, all of one stretch, whose two sources lie in `slices`.
pub fn written(taps: &[Tap], slices: &Range<usize>) -> Range<usize> {
    let first = taps.partition_point(|tap| tap.first < slices.start);
    let end = taps.partition_point(|tap| tap.second < slices.end);
    first..end.max(first)
}
