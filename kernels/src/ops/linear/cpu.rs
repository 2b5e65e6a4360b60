//! One dot product per output.
use super::{Linear, reference};
use crate::Result;
use crate::cpu::Precision;
use crate::cpu::widen::floats;

/// How this device multiplies.
pub(crate) fn describe(precision: Precision) -> String {
    format!("cpu, {} threads, {precision:?}", rayon::current_num_threads())
}

pub(crate) fn run(mut op: Linear<'_>, _precision: Precision) -> Result<()> {
    let shape = op.check()?;
    let (weight, bias) = (floats(&op.weight)?, op.bias.as_ref().map(floats).transpose()?);
    let x = op.x.host::<f32>()?;
    let out = op.out.host::<f32>()?;
    let values = reference::linear(x, &weight, bias.as_deref(), op.epilogue, out, [shape.inner, shape.out]);
    for (out, value) in out.iter_mut().zip(values) {
        *out = value as f32;
    }
    Ok(())
}
