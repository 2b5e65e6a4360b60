//! Eight elements per thread.
use super::SliceCombine;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SliceCombineParams {
    z_2d_slices: Ptr,
    scores: Ptr,
    out: Ptr,
    elements: u64,
    slices: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<SliceCombineParams>() == 40 && offset_of!(SliceCombineParams, vectors) == 36);

const KERNEL: Kernel = kernel!(slice_combine_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: SliceCombine<'_>) -> Result<()> {
    let elements = op.check()?;
    let args = gpu.args("slice_combine")?;
    let z_2d_slices = args.bf16("z_2d_slices", &op.z_2d_slices)?;
    let scores = args.typed("scores", &op.scores, DType::F32)?;
    let out = args.out("out", &mut op.out)?;
    let params = SliceCombineParams {
        z_2d_slices,
        scores,
        out,
        elements: elements as u64,
        slices: args.size("slices", op.scores.dims().count())?,
        vectors: vectors(elements, &[z_2d_slices, out]),
    };
    let blocks = args.size("blocks", elements.div_ceil(8 * KERNEL.threads as usize))?;
    // SAFETY: the contract fixed slices times `elements` for z_2d_slices, `elements` for out and [slices] for scores;
    // the layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [blocks, 1, 1], 0, &params) }
}
