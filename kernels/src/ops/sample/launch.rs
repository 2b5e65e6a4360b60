//! One block; the temperature as the kernel takes it.
use super::Sample;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SampleParams {
    logits: Ptr,
    out: Ptr,
    seed: u64,
    step: u64,
    one: u64,
    scale: f32,
    scale_rest: f32,
    reach: f32,
    top_p: f32,
    vocab: u32,
    top_k: u32,
    greedy: u32,
}

const _: () = assert!(size_of::<SampleParams>() == 72 && offset_of!(SampleParams, greedy) == 64);

const KERNEL: Kernel = kernel!(sample_kernel, 512);

pub(crate) fn run(gpu: &Gpu, mut op: Sample<'_>) -> Result<()> {
    op.check()?;
    let args = gpu.args("sample")?;
    let vocab = args.size("vocab", op.logits.dims().count())?;
    let sampling = op.sampling;
    let temperature = f64::from(sampling.temperature);
    // 2^62 shared by all tokens, so that a sum fits in 64 bits with the weights' own error.
    let one = 1u64 << (62 - vocab.next_power_of_two().trailing_zeros().min(31));
    let scale = std::f64::consts::LOG2_E / temperature;
    let params = SampleParams {
        logits: args.typed("logits", &op.logits, DType::F32)?,
        out: args.out_typed("out", &mut op.out, DType::U32)?,
        seed: sampling.seed,
        step: op.step,
        one,
        scale: scale as f32,
        scale_rest: (scale - f64::from(scale as f32)) as f32,
        reach: (64.0 / scale) as f32,
        top_p: sampling.top_p,
        vocab,
        top_k: sampling.top_k,
        greedy: u32::from(sampling.temperature == 0.0),
    };
    // SAFETY: the contract fixed [1, vocab] for logits and [1] for out; the layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [1, 1, 1], 0, &params) }
}
