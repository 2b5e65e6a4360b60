//! Threads over pairs of elements, eight pairs each where they lie on 16-byte boundaries.
use super::QkvRopeAppend;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::ops::attention_paged::table_stride;
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct QkvRopeAppendParams {
    qkv: Ptr,
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

const _: () = assert!(size_of::<QkvRopeAppendParams>() == 80 && offset_of!(QkvRopeAppendParams, table_stride) == 76);

const THREADS: u32 = 128;
const VECTORS: Kernel = kernel!(qkv_rope_append_vectors, THREADS);
const SINGLE: Kernel = kernel!(qkv_rope_append_single, THREADS);

pub(crate) fn run(gpu: &Gpu, mut op: QkvRopeAppend<'_>) -> Result<()> {
    let head_dim = op.check()?;
    let args = gpu.args("qkv_rope_append")?;
    let params = QkvRopeAppendParams {
        qkv: args.bf16("qkv", &op.qkv)?,
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
    let pointers = [params.qkv, params.cos, params.sin, params.q, params.k_pages, params.v_pages];
    let vectors = head_dim.is_multiple_of(16) && pointers.iter().all(|pointer| pointer.is_aligned(16));
    let (kernel, wide) = if vectors { (&VECTORS, 8) } else { (&SINGLE, 1) };
    let rows = args.size("rows", op.qkv.dims().as_slice()[0])?;
    let items = (op.heads + 2 * op.kv_heads) * (head_dim / 2 / wide);
    let blocks = args.size("blocks", items.div_ceil(THREADS as usize))?;
    // SAFETY: the contract fixed all shapes; positions and page numbers lie inside theirs by the engine's promise; the
    // layout is asserted on both sides.
    unsafe { gpu.launch(kernel, [rows, blocks, 1], 0, &params) }
}
