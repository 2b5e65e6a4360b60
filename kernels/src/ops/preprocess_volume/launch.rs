//! One launch: a thread for each voxel that the slab decides.
use super::PreprocessVolume;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PreprocessParams {
    slab: Ptr,
    out: Ptr,
    /// Rows and columns of a slice of the slab.
    rows: u32,
    columns: u32,
    out_size: [u32; 3],
    crop: [[u32; 2]; 3],
    first_slice: u32,
    first_out: u32,
    out_slices: u32,
    low: f32,
    high: f32,
    scales: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<PreprocessParams>() == 88 && offset_of!(PreprocessParams, scales) == 80);

const RESIZE: Kernel = kernel!(preprocess_resize_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: PreprocessVolume<'_>) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("preprocess_volume")?;
    let [out_slices, out_rows, out_columns] = shape.out;
    let mut crop = [[0; 2]; 3];
    for (bounds, kept) in crop.iter_mut().zip(op.crop) {
        *bounds = [args.size("crop", kept[0])?, args.size("crop", kept[1])?];
    }
    let [low, high] = op.scale.unwrap_or_default();
    let params = PreprocessParams {
        slab: args.typed("slab", &op.slab, DType::F32)?,
        out: args.out_typed("out", &mut op.out, DType::F32)?,
        rows: args.size("height", shape.slab[1])?,
        columns: args.size("width", shape.slab[2])?,
        out_size: [
            args.size("out slices", out_slices)?,
            args.size("out height", out_rows)?,
            args.size("out width", out_columns)?,
        ],
        crop,
        first_slice: args.size("first_slice", op.first_slice)?,
        first_out: args.size("out slices", shape.written.start)?,
        out_slices: args.size("out slices", shape.written.len())?,
        low,
        high,
        scales: u32::from(op.scale.is_some()),
        reserved: 0,
    };
    let voxels = shape.written.len() * out_rows * out_columns;
    let blocks = args.size("blocks", voxels.div_ceil(RESIZE.threads as usize))?;
    // SAFETY: the contract fixed three sizes each for slab and out; the written slices are those whose source slices
    // lie in the slab, and the box's rows and columns lie in its slices. The layout is asserted on both sides.
    unsafe { gpu.launch(&RESIZE, [blocks, 1, 1], 0, &params) }
}
