//! One block per row.
use super::EmbedTokens;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct EmbedTokensParams {
    table: Ptr,
    ids: Ptr,
    out: Ptr,
    vocab: u32,
    dim: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<EmbedTokensParams>() == 40 && offset_of!(EmbedTokensParams, vectors) == 32);

const KERNEL: Kernel = kernel!(embed_tokens_kernel, 128);

pub(crate) fn run(gpu: &Gpu, mut op: EmbedTokens<'_>) -> Result<()> {
    let vocab = op.check()?;
    let dim = op.table.dims().as_slice()[1];
    let rows = op.ids.dims().count();
    let args = gpu.args("embed_tokens")?;
    let table = args.bf16("table", &op.table)?;
    let ids = args.typed("ids", &op.ids, DType::U32)?;
    let out = args.out("out", &mut op.out)?;
    let params = EmbedTokensParams {
        table,
        ids,
        out,
        vocab: args.size("vocab", vocab)?,
        dim: args.size("hidden", dim)?,
        vectors: vectors(dim, &[table, out]),
    };
    // SAFETY: the contract fixed [vocab, dim] for table, [rows] for ids and [rows, dim] for out; the kernel reads no
    // row past `vocab`. The layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [args.size("rows", rows)?, 1, 1], 0, &params) }
}
