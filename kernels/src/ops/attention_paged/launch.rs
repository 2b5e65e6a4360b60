//! Prefill: one block for 64 queries of a head. Decode: one for each page, key head and row, then a sum over pages.
use super::{AttentionPaged, RUNS_MAX, Shape, logical_pages, table_stride};
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use crate::ops::attention_full::launch::stages_bytes;
use crate::{DECODE_ROWS_MAX, DType, PAGE_TOKENS, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AttentionPagedParams {
    q: Ptr,
    k_pages: Ptr,
    v_pages: Ptr,
    block_table: Ptr,
    positions: Ptr,
    out: Ptr,
    partial: Ptr,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    pages: u32,
    scale_log2: f32,
    table_stride: u32,
    cache_pages: u32,
    run_ends: [u32; RUNS_MAX],
}

const _: () = assert!(size_of::<AttentionPagedParams>() == 216 && offset_of!(AttentionPagedParams, run_ends) == 88);

/// Queries of a block of prefill.
const PREFILL_QUERIES: usize = 64;

/// Heads of a block of decode.
const DECODE_HEADS: usize = 16;

const THREADS: u32 = 128;
const WARP: u32 = 32;

/// By padded head_dim: for rows on 16-byte boundaries, and for any.
const PREFILL: [(usize, [Kernel; 2]); 4] = [
    (32, [kernel!(attention_paged_32, THREADS), kernel!(attention_paged_32_single, THREADS)]),
    (64, [kernel!(attention_paged_64, THREADS), kernel!(attention_paged_64_single, THREADS)]),
    (96, [kernel!(attention_paged_96, THREADS), kernel!(attention_paged_96_single, THREADS)]),
    (128, [kernel!(attention_paged_128, THREADS), kernel!(attention_paged_128_single, THREADS)]),
];

/// In the order of `PREFILL`.
const DECODE: [[Kernel; 2]; 4] = [
    [kernel!(attention_paged_decode_32, WARP), kernel!(attention_paged_decode_32_single, WARP)],
    [kernel!(attention_paged_decode_64, WARP), kernel!(attention_paged_decode_64_single, WARP)],
    [kernel!(attention_paged_decode_96, WARP), kernel!(attention_paged_decode_96_single, WARP)],
    [kernel!(attention_paged_decode_128, WARP), kernel!(attention_paged_decode_128_single, WARP)],
];

const MERGE: Kernel = kernel!(attention_paged_merge, THREADS);

/// What decode needs: the highest score, the sum of weights and the weighted sum of every row, head and page.
pub(crate) fn workspace_bytes(op: &AttentionPaged<'_>, shape: Shape) -> usize {
    let padded = shape.head_dim.next_multiple_of(32);
    let factors = [shape.rows, op.heads, logical_pages(&op.block_table), 2 + padded, size_of::<f32>()];
    if shape.rows > DECODE_ROWS_MAX { 0 } else { factors.into_iter().fold(1, usize::saturating_mul) }
}

pub(crate) fn run(gpu: &Gpu, mut op: AttentionPaged<'_>) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("attention_paged")?;
    let rows = shape.rows;
    let head_dim = shape.head_dim;
    let group = op.heads / op.kv_heads;
    let Some(size) = PREFILL.iter().position(|(padded, _)| head_dim <= *padded) else {
        return args.refuse(format!("head_dim is {head_dim}, at most 128 on a GPU"));
    };
    let padded = PREFILL[size].0;
    let pages = logical_pages(&op.block_table);
    let mut params = AttentionPagedParams {
        q: args.bf16("q", &op.q)?,
        k_pages: args.bf16("k_pages", &op.k_pages)?,
        v_pages: args.bf16("v_pages", &op.v_pages)?,
        block_table: args.strided("block_table", &op.block_table, DType::U32)?,
        positions: args.typed("positions", &op.positions, DType::U32)?,
        out: args.out("out", &mut op.out)?,
        partial: Ptr::NULL,
        rows: args.size("rows", rows)?,
        heads: args.size("heads", op.heads)?,
        kv_heads: args.size("kv_heads", op.kv_heads)?,
        head_dim: args.size("head_dim", head_dim)?,
        pages: args.size("pages", pages)?,
        scale_log2: op.scale * std::f32::consts::LOG2_E,
        table_stride: args.size("table_stride", table_stride(&op.block_table))?,
        cache_pages: args.size("physical pages", shape.pages)?,
        run_ends: [u32::MAX; RUNS_MAX],
    };
    let mut end = 0;
    let mut blocks_of_rows = 0;
    for (run, rows) in op.row_runs(rows).into_iter().enumerate() {
        end += rows;
        blocks_of_rows += rows.div_ceil(PREFILL_QUERIES);
        params.run_ends[run] = args.size("rows", end)?;
    }
    args.size("heads·head_dim", op.heads * head_dim)?;
    args.size("tokens", pages.saturating_mul(PAGE_TOKENS))?;
    let single = usize::from(vectors(head_dim, &[params.q, params.k_pages, params.v_pages, params.out]) == 0);
    if rows > DECODE_ROWS_MAX {
        let blocks = [params.heads, args.size("blocks of rows", blocks_of_rows)?, 1];
        // SAFETY: the contract fixed all shapes, runs add up to the rows and their blocks to the grid's; the kernel
        // compares positions with the table's pages, and page numbers with the cache's, before it uses them; the layout
        // is asserted on both sides.
        return unsafe { gpu.launch(&PREFILL[size].1[single], blocks, stages_bytes(padded), &params) };
    }
    let mut workspace = gpu.workspace(workspace_bytes(&op, shape))?;
    params.partial = workspace.ptr();
    let blocks = [params.pages, args.size("blocks of heads", op.kv_heads * group.div_ceil(DECODE_HEADS))?, params.rows];
    let shared = stages_bytes(padded) / 2 + (DECODE_HEADS * padded * 2) as u32;
    // SAFETY: as above, and the workspace holds what both launches use of it.
    unsafe {
        gpu.launch(&DECODE[size][single], blocks, shared, &params)?;
        gpu.launch(&MERGE, [params.heads, params.rows, 1], 0, &params)
    }
}
