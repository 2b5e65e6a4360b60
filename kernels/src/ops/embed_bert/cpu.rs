//! Gathers, adds and normalises row by row.
use super::EmbedBert;
use crate::Result;
use crate::cpu::widen::{Table, floats};
use crate::ops::layer_norm::cpu::normalise;

pub(crate) fn run(mut op: EmbedBert<'_>) -> Result<()> {
    let vocab = op.check()?;
    let hidden = op.words.dims().as_slice()[1];
    let ids = op.ids.host::<u32>()?;
    let weight = floats(&op.weight)?;
    let bias = floats(&op.bias)?;
    let [words, positions, types] = [&op.words, &op.positions, &op.types].map(Table::of);
    let words = words?;
    let positions = positions?;
    let [mut sum, mut position, mut kind] = [(); 3].map(|()| vec![0f32; hidden]);
    types?.row_into(0, &mut kind);
    for (row, (&id, out)) in ids.iter().zip(op.out.host::<f32>()?.chunks_exact_mut(hidden.max(1))).enumerate() {
        if id as usize >= vocab {
            out.fill(f32::NAN);
            continue;
        }
        words.row_into(id as usize, &mut sum);
        positions.row_into(row, &mut position);
        for ((sum, position), kind) in sum.iter_mut().zip(&position).zip(kind.iter()) {
            *sum += kind + position;
        }
        normalise(&sum, &weight, &bias, op.eps, out);
    }
    Ok(())
}
