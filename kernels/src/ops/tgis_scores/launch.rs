//! The dot products, one block each, then the softmax.
use super::TgisScores;
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct TgisScoresParams {
    keys: Ptr,
    guide: Ptr,
    logits: Ptr,
    scores: Ptr,
    temperature: f64,
    slices: u32,
    dim: u32,
}

const _: () = assert!(size_of::<TgisScoresParams>() == 48 && offset_of!(TgisScoresParams, dim) == 44);

const LOGITS: Kernel = kernel!(tgis_logits_kernel, 256);
const SOFTMAX: Kernel = kernel!(tgis_softmax_kernel, 256);

/// A logit in f64 for each slice.
pub(crate) fn workspace_bytes(slices: usize) -> usize {
    slices * size_of::<f64>()
}

pub(crate) fn run(gpu: &Gpu, mut op: TgisScores<'_>) -> Result<()> {
    let dim = op.check()?;
    let slices = op.scores.dims().count();
    let args = gpu.args("tgis_scores")?;
    let mut workspace = gpu.workspace(workspace_bytes(slices))?;
    let params = TgisScoresParams {
        keys: args.typed("keys", &op.keys, DType::F32)?,
        guide: args.bf16("guide", &op.guide)?,
        logits: workspace.ptr(),
        scores: args.out_typed("scores", &mut op.scores, DType::F32)?,
        temperature: op.temperature.into(),
        slices: args.size("slices", slices)?,
        dim: args.size("dim", dim)?,
    };
    // SAFETY: the contract fixed [slices, dim] for keys, [1, dim] for guide and [slices] for scores; the workspace
    // holds `slices` numbers. The layout is asserted on both sides.
    unsafe {
        gpu.launch(&LOGITS, [params.slices, 1, 1], 0, &params)?;
        gpu.launch(&SOFTMAX, [params.slices.min(1), 1, 1], 0, &params)
    }
}
