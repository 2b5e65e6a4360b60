//! The best of every sixteen logits, then the best of those.
use super::{RmsLinearArgmax, candidates};
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::ops::linear::few::{FewInput, Norm};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of both entry points of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RmsLinearArgmaxParams {
    input: FewInput,
    candidates: Ptr,
    out: Ptr,
    vocab: u32,
    groups: u32,
}

const _: () = assert!(size_of::<RmsLinearArgmaxParams>() == 72 && offset_of!(RmsLinearArgmaxParams, groups) == 68);

const VECTORS: Kernel = kernel!(rms_linear_argmax_kernel, 256);
const ANY: Kernel = kernel!(rms_linear_argmax_any_kernel, 256);
const BEST: Kernel = kernel!(rms_linear_argmax_best_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: RmsLinearArgmax<'_>) -> Result<()> {
    let [rows, vocab] = op.check()?;
    let args = gpu.args("rms_linear_argmax")?;
    let norm = Norm { weight: op.norm, eps: op.eps };
    let (input, vectors) = FewInput::new(&args, [&op.x, &op.weight], Some(norm))?;
    let params = RmsLinearArgmaxParams {
        input,
        candidates: args.out_typed("scratch", &mut op.scratch, DType::U32)?,
        out: args.out_typed("out", &mut op.out, DType::U32)?,
        vocab: args.size("vocab", vocab)?,
        groups: args.size("groups", candidates(vocab) / 2)?,
    };
    let groups = if rows == 0 { 0 } else { params.groups };
    // SAFETY: the contract fixed the dims of all tensors and at most sixteen rows; vectors are read only from aligned
    // rows; the layout is asserted on both sides.
    unsafe { gpu.launch(if vectors { &VECTORS } else { &ANY }, [groups, 1, 1], 0, &params)? };
    // SAFETY: as above; the candidates of all groups are written by the launch before.
    unsafe { gpu.launch(&BEST, [input.rows, 1, 1], 0, &params) }
}
