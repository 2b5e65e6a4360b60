//! `preprocess_volume`: from a volume as read to the one that the encoders see.
use crate::{DType, DimCheck, Result, View, ViewMut};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// Which intensities become 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Intensity {
    /// Voxels are taken as they are.
    Prepared,
    /// The volume's lowest and highest.
    MinMax,
    /// The lowest and highest after clipping to this window, which rises and is finite.
    Window([f32; 2]),
}

/// Scales intensities, crops to the box of voxels above 0, and resizes the box trilinearly with half-pixel centres.
///
/// The arithmetic of MONAI 1.3's `CropForeground()` and `Resize(mode="trilinear")`: intensities are scaled in f64 and
/// rounded to f32, places along an axis are f32. Where no voxel is above 0, or the clipped volume is constant, `crop`
/// is all 0 and `out` is NaN: whether that is so is known only when the op has run.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below or is 0, or the window does not rise or is not
/// finite.
pub struct PreprocessVolume<'a> {
    /// `[slices, height, width]`, f32, finite.
    pub volume: View<'a>,
    /// How it is scaled.
    pub intensity: Intensity,
    /// `[6]`, u32: first and one past the last of the slices, rows and columns that were kept.
    pub crop: ViewMut<'a>,
    /// `[out slices, out height, out width]`, f32 in [0, 1].
    pub out: ViewMut<'a>,
}

impl PreprocessVolume<'_> {
    /// Checks the contract; gives the sizes of `volume` and `out`.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<[[usize; 3]; 2]> {
        const SIZES: [[&str; 3]; 2] = [["slices", "height", "width"], ["out slices", "out height", "out width"]];
        let mut dims = DimCheck::new("preprocess_volume");
        dims.typed("volume", &self.volume, DType::F32, &SIZES[0])?;
        dims.bind("crop", "6", 6)?;
        dims.output("crop", &self.crop, &["6"])?;
        dims.output("out", &self.out, &SIZES[1])?;
        for (tensor, found, wanted) in [("crop", self.crop.dtype(), DType::U32), ("out", self.out.dtype(), DType::F32)]
        {
            dims.require(found == wanted, || format!("{tensor} holds {found:?}, wanted {wanted:?}"))?;
        }
        let sizes = SIZES.map(|names| names.map(|name| dims.size(name)));
        for (tensor, size) in ["volume", "out"].into_iter().zip(sizes) {
            dims.require(!size.contains(&0), || format!("{tensor} is {size:?}, wanted sizes above 0"))?;
        }
        if let Intensity::Window([low, high]) = self.intensity {
            let rises = low.is_finite() && high.is_finite() && low < high;
            dims.require(rises, || format!("window is {low}..{high}, wanted finite numbers that rise"))?;
        }
        Ok(sizes)
    }
}
