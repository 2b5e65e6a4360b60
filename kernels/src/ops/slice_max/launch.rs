//! Eight elements per thread.
use super::SliceMax;
use crate::Result;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SliceMaxParams {
    z_2d_slices: Ptr,
    out: Ptr,
    elements: u64,
    slices: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<SliceMaxParams>() == 32 && offset_of!(SliceMaxParams, vectors) == 28);

const KERNEL: Kernel = kernel!(slice_max_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: SliceMax<'_>) -> Result<()> {
    let elements = op.check()?;
    let args = gpu.args("slice_max")?;
    let z_2d_slices = args.bf16("z_2d_slices", &op.z_2d_slices)?;
    let out = args.out("out", &mut op.out)?;
    let params = SliceMaxParams {
        z_2d_slices,
        out,
        elements: elements as u64,
        slices: args.size("slices", op.z_2d_slices.dims().as_slice()[0])?,
        vectors: vectors(elements, &[z_2d_slices, out]),
    };
    let blocks = args.size("blocks", elements.div_ceil(8 * KERNEL.threads as usize))?;
    // SAFETY: the contract fixed slices > 0 times `elements` for z_2d_slices and `elements` for out; the layout is
    // asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [blocks, 1, 1], 0, &params) }
}
