//! The widest units that addresses and size allow.
use super::Copy;
use crate::Result;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct CopyParams {
    x: Ptr,
    out: Ptr,
    units: u64,
    unit_bytes: u32,
}

const _: () = assert!(size_of::<CopyParams>() == 32 && offset_of!(CopyParams, unit_bytes) == 24);

const KERNEL: Kernel = kernel!(copy_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: Copy<'_>) -> Result<()> {
    op.check()?;
    let args = gpu.args("copy")?;
    let dtype = op.x.dtype();
    let x = args.typed("x", &op.x, dtype)?;
    let out = args.out_typed("out", &mut op.out, dtype)?;
    let bytes = op.x.dims().count() * dtype.bytes();
    let fits = |unit: &usize| bytes.is_multiple_of(*unit) && x.is_aligned(*unit as u64) && out.is_aligned(*unit as u64);
    let unit = [16, 4].into_iter().find(fits).unwrap_or(2);
    let params = CopyParams { x, out, units: (bytes / unit) as u64, unit_bytes: unit as u32 };
    let blocks = args.size("blocks", (bytes / unit).div_ceil(KERNEL.threads as usize))?;
    // SAFETY: the contract fixed [rows, width] and one element type for x and out, so both have `bytes` bytes; every
    // type has a multiple of 2 bytes. The layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [blocks, 1, 1], 0, &params) }
}
