//! One warp per row.
use super::EmbedBert;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use crate::ops::layer_norm::launch::Norm;
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct EmbedBertParams {
    words: Ptr,
    positions: Ptr,
    types: Ptr,
    ids: Ptr,
    out: Ptr,
    norm: Norm,
    vocab: u32,
    rows: u32,
    dim: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<EmbedBertParams>() == 80 && offset_of!(EmbedBertParams, vectors) == 76);

const KERNEL: Kernel = kernel!(embed_bert_kernel, 128);

pub(crate) fn run(gpu: &Gpu, mut op: EmbedBert<'_>) -> Result<()> {
    let vocab = op.check()?;
    let rows = op.ids.dims().count();
    let dim = op.weight.dims().count();
    let args = gpu.args("embed_bert")?;
    let words = args.bf16("words", &op.words)?;
    let positions = args.bf16("positions", &op.positions)?;
    let types = args.bf16("types", &op.types)?;
    let ids = args.typed("ids", &op.ids, DType::U32)?;
    let weight = args.bf16("weight", &op.weight)?;
    let bias = args.bf16("bias", &op.bias)?;
    let out = args.out("out", &mut op.out)?;
    let params = EmbedBertParams {
        words,
        positions,
        types,
        ids,
        out,
        norm: Norm { weight, bias, eps: op.eps },
        vocab: args.size("vocab", vocab)?,
        rows: args.size("rows", rows)?,
        dim: args.size("hidden", dim)?,
        vectors: vectors(dim, &[words, positions, types, weight, bias, out]),
    };
    let blocks = params.rows.div_ceil(KERNEL.threads / 32);
    // SAFETY: the contract fixed [.., dim] for all three tables and out, [rows] for ids, no more rows than positions,
    // and at least one type; the kernel reads no word past `vocab`. The layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [blocks, 1, 1], 0, &params) }
}
