//! Threads over pairs of elements, eight pairs each where they lie on 16-byte boundaries.
use super::{Heads, QkvRopeAppend};
use crate::gpu::{Args, Gpu, Kernel, Ptr, kernel};
use crate::ops::attention_paged::{logical_pages, table_stride};
use crate::{DType, Result, View};
use std::mem::offset_of;

/// `CacheSizes` of `pages.cuh`: what limits the numbers in `positions` and `block_table`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct CacheSizes {
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    rows: u32,
    table_stride: u32,
    table_pages: u32,
    cache_pages: u32,
    angles: u32,
}

impl CacheSizes {
    /// The sizes of a checked op with these rows' positions.
    pub fn new(args: &Args<'_>, heads: Heads, positions: &View<'_>, block_table: &View<'_>) -> Result<Self> {
        args.size("columns of qkv", (heads.queries + 2 * heads.keys) * heads.head_dim)?;
        Ok(Self {
            heads: args.size("heads", heads.queries)?,
            kv_heads: args.size("kv_heads", heads.keys)?,
            head_dim: args.size("head_dim", heads.head_dim)?,
            rows: args.size("rows", positions.dims().count())?,
            table_stride: args.size("table_stride", table_stride(block_table))?,
            table_pages: args.size("logical pages", logical_pages(block_table))?,
            cache_pages: args.size("pages", heads.pages)?,
            angles: args.size("positions", heads.angles)?,
        })
    }
}

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
    sizes: CacheSizes,
}

const _: () = assert!(size_of::<CacheSizes>() == 32 && size_of::<QkvRopeAppendParams>() == 96);
const _: () = assert!(offset_of!(QkvRopeAppendParams, sizes) == 64);

const THREADS: u32 = 128;
const VECTORS: Kernel = kernel!(qkv_rope_append_vectors, THREADS);
const SINGLE: Kernel = kernel!(qkv_rope_append_single, THREADS);

pub(crate) fn run(gpu: &Gpu, mut op: QkvRopeAppend<'_>) -> Result<()> {
    let heads = op.check()?;
    let args = gpu.args("qkv_rope_append")?;
    let params = QkvRopeAppendParams {
        qkv: args.bf16("qkv", &op.qkv)?,
        cos: args.typed("cos", &op.cos, DType::F32)?,
        sin: args.typed("sin", &op.sin, DType::F32)?,
        positions: args.typed("positions", &op.positions, DType::U32)?,
        block_table: args.strided("block_table", &op.block_table, DType::U32)?,
        q: args.out("q", &mut op.q)?,
        k_pages: args.out("k_pages", &mut op.k_pages)?,
        v_pages: args.out("v_pages", &mut op.v_pages)?,
        sizes: CacheSizes::new(&args, heads, &op.positions, &op.block_table)?,
    };
    let pointers = [params.qkv, params.cos, params.sin, params.q, params.k_pages, params.v_pages];
    let vectors = heads.head_dim.is_multiple_of(16) && pointers.iter().all(|pointer| pointer.is_aligned(16));
    let (kernel, wide) = if vectors { (&VECTORS, 8) } else { (&SINGLE, 1) };
    let items = (heads.queries + 2 * heads.keys) * (heads.head_dim / 2 / wide);
    let blocks = args.size("blocks", items.div_ceil(THREADS as usize))?;
    // SAFETY: the contract fixed all shapes; the kernel compares every position and page number with `sizes` before it
    // uses it, and no two rows go to one place; the layout is asserted on both sides.
    unsafe { gpu.launch(kernel, [params.sizes.rows, blocks, 1], 0, &params) }
}
