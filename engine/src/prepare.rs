//! From a volume as read to the model's input: the box that is not air, scaled and resized by the device.
use crate::{Result, volume};
use med2e3_kernels::ops::PreprocessVolume;
use med2e3_kernels::ops::preprocess_volume::{Tap, taps, written};
use med2e3_kernels::{DType, Device};
use med2e3_loaders::Error;
use volume::{AppliedWindow, Framed, RawVolume, VOXELS_MAX, VolumeOptions, frame};

/// Bytes of source slices that are on the device at one time, unless two slices are more.
const SLAB_BYTES: usize = 64 << 20;

/// A volume ready for the model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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

/// Turns `raw` into a model's input of `size` slices, rows and columns, as MONAI 1.3's `CropForeground()` and
/// `Resize(mode="trilinear")` do it. Voxels that are not finite take the smallest value, with a warning. Every device
/// gives the same bits; it needs room for the result and for 64 MiB of the scan, or two slices if those are more.
///
/// # Errors
/// [`crate::Error::Loaders`]: the voxels are not as many as `raw.dims` says, none of them is finite, or all are the
/// same; a prepared volume holds values outside 0..1; the window leaves nothing to see, or the scan's own is asked for
/// and it has none; `size` has a zero or is of more than [`VOXELS_MAX`] voxels. [`crate::Error::Device`] if memory runs
/// out.
pub fn prepare(
    device: &dyn Device,
    raw: &RawVolume,
    size: [usize; 3],
    options: &VolumeOptions,
) -> Result<PreparedVolume> {
    let wanted = size.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
    if !wanted.is_some_and(|wanted| (1..=VOXELS_MAX).contains(&wanted)) {
        let finding = format!("cannot be resized to {size:?}");
        let remedy = format!("give three sizes of 1 or more, with a product of at most {VOXELS_MAX}");
        return Err(Error::bad_input("volume", finding, remedy).into());
    }
    let framed = frame(raw, options)?;
    let slice_taps = taps(framed.crop[0], size[0]);
    let voxels = resize(device, &framed, raw.dims, &slice_taps, size)?;
    let contributing = |tap: &Tap| [tap.first, if tap.weight > 0.0 { tap.second } else { tap.first }];
    let source_slices = slice_taps.iter().map(contributing).collect();
    let Framed { crop, window, warnings, .. } = framed;
    Ok(PreparedVolume { voxels, dims: size, source_slices, crop, window, warnings })
}

fn resize(
    device: &dyn Device,
    framed: &Framed<'_>,
    [_, rows, columns]: [usize; 3],
    slice_taps: &[Tap],
    size: [usize; 3],
) -> Result<Vec<f32>> {
    let &Framed { scale, crop, .. } = framed;
    let plane = rows * columns;
    let fitting = SLAB_BYTES / (plane * size_of::<f32>());
    let slices = fitting.max(2).min(crop[0][1] - crop[0][0]);
    let mut slab = device.tensor(&[slices, rows, columns], DType::F32)?;
    let mut out = device.tensor(&size, DType::F32)?;
    let mut next = 0;
    while let Some(tap) = slice_taps.get(next) {
        let first_slice = tap.first.min(crop[0][1] - slices);
        let range = first_slice..first_slice + slices;
        device.write(&mut slab, &framed.voxels[range.start * plane..range.end * plane])?;
        next = written(slice_taps, &range).end;
        let op = PreprocessVolume { slab: slab.view(), first_slice, scale, crop, out: out.view_mut() };
        device.preprocess_volume(op)?;
    }
    Ok(device.read(out.view())?)
}
