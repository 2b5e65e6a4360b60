//! One warp per row.
use super::LayerNorm;
use crate::Result;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use std::mem::offset_of;

/// One learned layer norm, as `norm.cuh` has it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Norm {
    pub weight: Ptr,
    pub bias: Ptr,
    pub eps: f32,
}

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LayerNormParams {
    x: Ptr,
    out: Ptr,
    norm: Norm,
    rows: u32,
    dim: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<LayerNormParams>() == 56 && offset_of!(LayerNormParams, vectors) == 48);

const KERNEL: Kernel = kernel!(layer_norm_kernel, 128);

pub(crate) fn run(gpu: &Gpu, mut op: LayerNorm<'_>) -> Result<()> {
    let dim = op.check()?;
    let rows = op.x.dims().as_slice()[0];
    let args = gpu.args("layer_norm")?;
    let x = args.bf16("x", &op.x)?;
    let weight = args.bf16("weight", &op.weight)?;
    let bias = args.bf16("bias", &op.bias)?;
    let out = args.out("out", &mut op.out)?;
    let params = LayerNormParams {
        x,
        out,
        norm: Norm { weight, bias, eps: op.eps },
        rows: args.size("rows", rows)?,
        dim: args.size("dim", dim)?,
        vectors: vectors(dim, &[x, weight, bias, out]),
    };
    let blocks = params.rows.div_ceil(KERNEL.threads / 32);
    // SAFETY: the contract fixed [rows, dim] for x and out and [dim] for weight and bias; the layout is asserted on
    // both sides.
    unsafe { gpu.launch(&KERNEL, [blocks, 1, 1], 0, &params) }
}
