//! The norm, the product, the largest.
use super::RmsLinearArgmax;
use crate::ops::rms_linear::cpu::{buffer, normed};
use crate::ops::{Epilogue, Linear, linear, sample};
use crate::{Precision, Result};

pub(crate) fn run(mut op: RmsLinearArgmax<'_>, precision: Precision) -> Result<()> {
    let [rows, vocab] = op.check()?;
    let normed = normed(op.x, op.norm, op.eps)?;
    let mut logits = buffer(&[rows, vocab])?;
    let x = normed.view();
    let weight = op.weight;
    let out = logits.view_mut();
    linear::cpu::run(Linear { x, weight, bias: None, epilogue: Epilogue::None, out }, precision)?;
    let logits = logits.view();
    for (out, logits) in op.out.host::<u32>()?.iter_mut().zip(logits.host::<f32>()?.chunks_exact(vocab)) {
        *out = sample::cpu::argmax(logits);
    }
    Ok(())
}
