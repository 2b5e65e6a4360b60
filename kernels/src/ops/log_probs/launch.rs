//! A block for each row.
use super::LogProbs;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LogProbsParams {
    logits: Ptr,
    ids: Ptr,
    top: Ptr,
    out: Ptr,
    vocab: u32,
    count: u32,
    ranks: u32,
    rows: u32,
}

const _: () = assert!(size_of::<LogProbsParams>() == 48 && offset_of!(LogProbsParams, rows) == 44);

const KERNEL: Kernel = kernel!(log_probs_kernel, 512);

pub(crate) fn run(gpu: &Gpu, mut op: LogProbs<'_>) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("log_probs")?;
    args.size("count + ranks", shape.count + shape.ranks)?;
    let params = LogProbsParams {
        logits: args.typed("logits", &op.logits, DType::F32)?,
        ids: args.typed("ids", &op.ids, DType::U32)?,
        top: args.out_typed("top", &mut op.top, DType::U32)?,
        out: args.out_typed("out", &mut op.out, DType::F32)?,
        vocab: args.size("vocab", shape.vocab)?,
        count: args.size("count", shape.count)?,
        ranks: args.size("ranks", shape.ranks)?,
        rows: args.size("rows", shape.rows)?,
    };
    // SAFETY: the contract fixed [rows, vocab] for logits, [rows, count] for ids, which the kernel compares with the
    // vocabulary before it uses them, and [rows, ranks] and [rows, count + ranks] for the outputs; the layout is
    // asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [params.rows, 1, 1], 0, &params) }
}
