//! One block per eight pairs (i, i + head_dim/2) of one head.
use super::RmsQkvRopeAppend;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::ops::attention_paged::table_stride;
use crate::ops::linear::few::{FewInput, Norm};
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
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    table_stride: u32,
}

const _: () =
    assert!(size_of::<RmsQkvRopeAppendParams>() == 120 && offset_of!(RmsQkvRopeAppendParams, table_stride) == 116);

const VECTORS: Kernel = kernel!(rms_qkv_rope_append_kernel, 256);
const ANY: Kernel = kernel!(rms_qkv_rope_append_any_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: RmsQkvRopeAppend<'_>) -> Result<()> {
    let head_dim = op.check()?;
    let args = gpu.args("rms_qkv_rope_append")?;
    let norm = Norm { weight: op.norm, eps: op.eps };
    let (input, vectors) = FewInput::new(&args, [&op.x, &op.weight], Some(norm))?;
    let params = RmsQkvRopeAppendParams {
        input,
        cos: args.typed("cos", &op.cos, DType::F32)?,
        sin: args.typed("sin", &op.sin, DType::F32)?,
        positions: args.typed("positions", &op.positions, DType::U32)?,
        block_table: args.typed("block_table", &op.block_table, DType::U32)?,
        q: args.out("q", &mut op.q)?,
        k_pages: args.out("k_pages", &mut op.k_pages)?,
        v_pages: args.out("v_pages", &mut op.v_pages)?,
        heads: args.size("heads", op.heads)?,
        kv_heads: args.size("kv_heads", op.kv_heads)?,
        head_dim: args.size("head_dim", head_dim)?,
        table_stride: args.size("table_stride", table_stride(&op.block_table))?,
    };
    let blocks = (op.heads + 2 * op.kv_heads) * (head_dim / 2).div_ceil(8) * usize::from(input.rows > 0);
    let blocks = args.size("blocks", blocks)?;
    // SAFETY: the contract fixed the dims of all tensors and at most sixteen rows; positions and page numbers lie
    // inside theirs by the engine's promise; vectors are read only from aligned rows; the layout is asserted on both
    // sides.
    unsafe { gpu.launch(if vectors { &VECTORS } else { &ANY }, [blocks, 1, 1], 0, &params) }
}
