//! Range, box and resize, one launch each.
use super::{Intensity, PreprocessVolume};
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PreprocessParams {
    volume: Ptr,
    out: Ptr,
    crop: Ptr,
    state: Ptr,
    size: [u32; 3],
    out_size: [u32; 3],
    window_low: f32,
    window_high: f32,
    scales: u32,
}

const _: () = assert!(size_of::<PreprocessParams>() == 72 && offset_of!(PreprocessParams, scales) == 64);

/// Bytes of the state between the launches: two keys and six bounds, u32.
pub(crate) const STATE_BYTES: usize = 32;

/// Blocks that walk the volume: eight for each of 132 multiprocessors.
const MOST_BLOCKS: usize = 1056;

const START: Kernel = kernel!(preprocess_start_kernel, 32);
const RANGE: Kernel = kernel!(preprocess_range_kernel, 256);
const BOX: Kernel = kernel!(preprocess_box_kernel, 256);
const RESIZE: Kernel = kernel!(preprocess_resize_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: PreprocessVolume<'_>) -> Result<()> {
    let [size, out_size] = op.check()?;
    let args = gpu.args("preprocess_volume")?;
    let sizes = |name, size: [usize; 3]| -> Result<[u32; 3]> {
        Ok([args.size(name, size[0])?, args.size(name, size[1])?, args.size(name, size[2])?])
    };
    let mut workspace = gpu.workspace(STATE_BYTES)?;
    let [window_low, window_high] = match op.intensity {
        Intensity::Window(window) => window,
        Intensity::Prepared | Intensity::MinMax => [f32::NEG_INFINITY, f32::INFINITY],
    };
    let params = PreprocessParams {
        volume: args.typed("volume", &op.volume, DType::F32)?,
        out: args.out_typed("out", &mut op.out, DType::F32)?,
        crop: args.out_typed("crop", &mut op.crop, DType::U32)?,
        state: workspace.ptr(),
        size: sizes("volume", size)?,
        out_size: sizes("out", out_size)?,
        window_low,
        window_high,
        scales: u32::from(op.intensity != Intensity::Prepared),
    };
    let walk = (size[0] * size[1]).div_ceil(RANGE.threads as usize / 32).min(MOST_BLOCKS) as u32;
    let resize = args.size("blocks", out_size.iter().product::<usize>().div_ceil(RESIZE.threads as usize))?;
    // SAFETY: the contract fixed three sizes each for volume and out and [6] for crop; the workspace holds the state,
    // and launches run in order. The layout is asserted on both sides.
    unsafe {
        gpu.launch(&START, [1, 1, 1], 0, &params)?;
        if params.scales == 1 {
            gpu.launch(&RANGE, [walk, 1, 1], 0, &params)?;
        }
        gpu.launch(&BOX, [walk, 1, 1], 0, &params)?;
        gpu.launch(&RESIZE, [resize, 1, 1], 0, &params)
    }
}
