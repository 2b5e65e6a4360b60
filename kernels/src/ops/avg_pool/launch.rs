//! One block per mean and 256 columns.
use super::AvgPool;
use crate::Result;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AvgPoolParams {
    x: Ptr,
    out: Ptr,
    pooled: [u32; 3],
    window: [u32; 3],
    dim: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<AvgPoolParams>() == 48 && offset_of!(AvgPoolParams, vectors) == 44);

const KERNEL: Kernel = kernel!(avg_pool_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: AvgPool<'_>) -> Result<()> {
    op.check()?;
    let &[means, dim] = op.out.dims().as_slice() else { unreachable!("the contract fixed the rank") };
    let args = gpu.args("avg_pool")?;
    let x = args.bf16("x", &op.x)?;
    let out = args.out("out", &mut op.out)?;
    args.size("tokens", op.x.dims().as_slice()[0])?;
    let axes = |name, sizes: [usize; 3]| -> Result<[u32; 3]> {
        Ok([args.size(name, sizes[0])?, args.size(name, sizes[1])?, args.size(name, sizes[2])?])
    };
    let params = AvgPoolParams {
        x,
        out,
        pooled: axes("grid", [0, 1, 2].map(|axis| op.grid[axis] / op.window[axis]))?,
        window: axes("window", op.window)?,
        dim: args.size("dim", dim)?,
        vectors: vectors(dim, &[x]),
    };
    let blocks = [args.size("means", means)?, params.dim.div_ceil(KERNEL.threads), 1];
    // SAFETY: the contract made windows divide grids, grids fill x, and out hold one row per window; the layout is
    // asserted on both sides.
    unsafe { gpu.launch(&KERNEL, blocks, 0, &params) }
}
