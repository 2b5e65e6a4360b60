//! Gathers, adds and normalises row by row.
use super::EmbedBert;
use crate::cpu::widen::{self, floats};
use crate::ops::layer_norm::cpu::normalise;
use crate::{Error, Result};

pub(crate) fn run(mut op: EmbedBert<'_>) -> Result<()> {
    let vocab = op.check()?;
    let hidden = op.words.dims().as_slice()[1];
    let ids = op.ids.host::<u32>()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
        return Err(Error::Contract {
            op: "embed_bert",
            detail: format!("id {id} is outside a table of {vocab} rows"),
        });
    }
    let (weight, bias, kind) = (floats(&op.weight)?, floats(&op.bias)?, floats(&op.types.rows(0..1))?);
    let (mut sum, mut position) = (vec![0f32; hidden], vec![0f32; hidden]);
    for (row, (&id, out)) in ids.iter().zip(op.out.host::<f32>()?.chunks_exact_mut(hidden)).enumerate() {
        widen::row_into(&op.words, id as usize, &mut sum)?;
        widen::row_into(&op.positions, row, &mut position)?;
        for ((sum, position), kind) in sum.iter_mut().zip(&position).zip(kind.iter()) {
            *sum += kind + position;
        }
        normalise(&sum, &weight, &bias, op.eps, out);
    }
    Ok(())
}
