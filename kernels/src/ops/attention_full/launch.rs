//! One block for 128 or 64 queries of a head; kernels for head_dim padded to 32, 64, 96 and 128.
use super::AttentionFull;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AttentionFullParams {
    q: Ptr,
    k: Ptr,
    v: Ptr,
    out: Ptr,
    q_stride: u32,
    k_stride: u32,
    v_stride: u32,
    out_stride: u32,
    tokens: u32,
    head_dim: u32,
    scale_log2: f32,
    reserved: u32,
}

const _: () = assert!(size_of::<AttentionFullParams>() == 64 && offset_of!(AttentionFullParams, reserved) == 60);

const THREADS: u32 = 128;

/// By padded head_dim: rows on 16-byte boundaries, and any rows.
const KERNELS: [(usize, [Kernel; 2]); 4] = [
    (32, [kernel!(attention_full_32, THREADS), kernel!(attention_full_32_single, THREADS)]),
    (64, [kernel!(attention_full_64, THREADS), kernel!(attention_full_64_single, THREADS)]),
    (96, [kernel!(attention_full_96, THREADS), kernel!(attention_full_96_single, THREADS)]),
    (128, [kernel!(attention_full_128, THREADS), kernel!(attention_full_128_single, THREADS)]),
];

/// Queries of a block: the source's kQueries.
pub(crate) fn block_queries(padded: usize) -> usize {
    if padded <= 64 { 128 } else { 64 }
}

/// Bytes of two stages of keys and values.
pub(crate) fn stages_bytes(padded: usize) -> u32 {
    2 * 2 * 64 * 2 * padded as u32
}

pub(crate) fn run(gpu: &Gpu, mut op: AttentionFull<'_>) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("attention_full")?;
    let head_dim = shape.head_dim;
    let hidden = op.heads * shape.head_dim;
    let Some((padded, kernels)) = KERNELS.iter().find(|(padded, _)| head_dim <= *padded) else {
        return args.refuse(format!("head_dim is {head_dim}, at most 128 on a GPU"));
    };
    let params = AttentionFullParams {
        q: args.strided("q", &op.q, DType::Bf16)?,
        k: args.strided("k", &op.k, DType::Bf16)?,
        v: args.strided("v", &op.v, DType::Bf16)?,
        out: args.out("out", &mut op.out)?,
        q_stride: args.size("q.stride", op.q.stride())?,
        k_stride: args.size("k.stride", op.k.stride())?,
        v_stride: args.size("v.stride", op.v.stride())?,
        out_stride: args.size("hidden", hidden)?,
        tokens: args.size("tokens", shape.tokens)?,
        head_dim: args.size("head_dim", head_dim)?,
        scale_log2: op.scale * std::f32::consts::LOG2_E,
        reserved: 0,
    };
    let strides = [op.q.stride(), op.k.stride(), op.v.stride(), head_dim];
    let pointers = [params.q, params.k, params.v, params.out];
    let vectors = strides.iter().all(|s| s.is_multiple_of(8)) && pointers.iter().all(|p| p.is_aligned(16));
    let kernel = &kernels[usize::from(!vectors)];
    let blocks = [
        args.size("blocks of queries", shape.tokens.div_ceil(block_queries(*padded)))?,
        args.size("heads", op.heads)?,
        args.size("sequences", op.sequences)?,
    ];
    // SAFETY: the contract fixed [sequences·tokens, heads·head_dim] for all four, with the strides given; the layout is
    // asserted on both sides.
    unsafe { gpu.launch(kernel, blocks, stages_bytes(*padded), &params) }
}
