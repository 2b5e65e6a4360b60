//! One block per eight pairs (i, i + head_dim/2) of one head.
use super::RmsQkvRopeAppend;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::ops::linear::few::{FewInput, Norm};
use crate::ops::qkv_rope_append::launch::CacheSizes;
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RmsQkvRopeAppendParams {
    input: FewInput,
    cos: Ptr,
    sin: Ptr,
    positions: Ptr,
    block_table: Ptr,
    q: Ptr,
    k_pages: Ptr,
    v_pages: Ptr,
    sizes: CacheSizes,
}

const _: () = assert!(size_of::<RmsQkvRopeAppendParams>() == 136 && offset_of!(RmsQkvRopeAppendParams, sizes) == 104);

const VECTORS: Kernel = kernel!(rms_qkv_rope_append_kernel, 256);
const ANY: Kernel = kernel!(rms_qkv_rope_append_any_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: RmsQkvRopeAppend<'_>) -> Result<()> {
    let heads = op.check()?;
    let args = gpu.args("rms_qkv_rope_append")?;
    let norm = Norm { weight: op.norm, eps: op.eps };
    let (input, vectors) = FewInput::new(&args, [&op.x, &op.weight], Some(norm))?;
    let params = RmsQkvRopeAppendParams {
        input,
        cos: args.typed("cos", &op.cos, DType::F32)?,
        sin: args.typed("sin", &op.sin, DType::F32)?,
        positions: args.typed("positions", &op.positions, DType::U32)?,
        block_table: args.strided("block_table", &op.block_table, DType::U32)?,
        q: args.out("q", &mut op.q)?,
        k_pages: args.out("k_pages", &mut op.k_pages)?,
        v_pages: args.out("v_pages", &mut op.v_pages)?,
        sizes: CacheSizes::new(&args, heads, &op.positions, &op.block_table)?,
    };
    let octets = (heads.head_dim / 2).div_ceil(8);
    let blocks = (heads.queries + 2 * heads.keys) * octets * usize::from(input.rows > 0);
    let blocks = args.size("blocks", blocks)?;
    // SAFETY: the contract fixed the dims of all tensors and at most sixteen rows; the kernel compares every position
    // and page number with `sizes` before it uses it, and no two rows go to one place; vectors are read only from
    // aligned rows; the layout is asserted on both sides.
    unsafe { gpu.launch(if vectors { &VECTORS } else { &ANY }, [blocks, 1, 1], 0, &params) }
}
