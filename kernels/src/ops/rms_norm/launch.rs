//! One block per row.
use super::RmsNorm;
use crate::Result;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RmsNormParams {
    x: Ptr,
    weight: Ptr,
    out: Ptr,
    rows: u32,
    dim: u32,
    eps: f32,
    vectors: u32,
}

const _: () = assert!(size_of::<RmsNormParams>() == 40 && offset_of!(RmsNormParams, vectors) == 36);

const KERNEL: Kernel = kernel!(rms_norm_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: RmsNorm<'_>) -> Result<()> {
    let dim = op.check()?;
    let rows = op.x.dims().as_slice()[0];
    let args = gpu.args("rms_norm")?;
    let x = args.bf16("x", &op.x)?;
    let weight = args.bf16("weight", &op.weight)?;
    let out = args.out("out", &mut op.out)?;
    let params = RmsNormParams {
        x,
        weight,
        out,
        rows: args.size("rows", rows)?,
        dim: args.size("dim", dim)?,
        eps: op.eps,
        vectors: vectors(dim, &[x, weight, out]),
    };
    // SAFETY: the contract fixed [rows, dim] for x and out and [dim] for weight; the layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [params.rows, 1, 1], 0, &params) }
}
