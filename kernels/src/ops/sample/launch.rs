//! A block for each row.
use super::Sample;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SampleParams {
    logits: Ptr,
    choices: Ptr,
    out: Ptr,
    one: u64,
    vocab: u32,
    rows: u32,
}

const _: () = assert!(size_of::<SampleParams>() == 40 && offset_of!(SampleParams, rows) == 36);

const KERNEL: Kernel = kernel!(sample_kernel, 512);

pub(crate) fn run(gpu: &Gpu, mut op: Sample<'_>) -> Result<()> {
    let [rows, vocab] = op.check()?;
    let args = gpu.args("sample")?;
    let vocab = args.size("vocab", vocab)?;
    let params = SampleParams {
        logits: args.typed("logits", &op.logits, DType::F32)?,
        choices: args.typed("choices", &op.choices, DType::U32)?,
        out: args.out_typed("out", &mut op.out, DType::U32)?,
        // 2^62 shared by all tokens, so that a sum fits in 64 bits with the weights' own error.
        one: 1u64 << (62 - vocab.next_power_of_two().trailing_zeros().min(31)),
        vocab,
        rows: args.size("rows", rows)?,
    };
    if !params.choices.is_aligned(8) {
        return args.refuse("choices do not lie on 8-byte boundaries".into());
    }
    // SAFETY: the contract fixed [rows, vocab] for logits, 32 bytes a row for choices, whose values the kernel checks
    // before it uses them, and [rows] for out; the layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [params.rows, 1, 1], 0, &params) }
}
