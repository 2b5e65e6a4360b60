//! Gathers rows in order.
use super::EmbedTokens;
use crate::Result;
use crate::cpu::widen::Table;

pub(crate) fn run(mut op: EmbedTokens<'_>) -> Result<()> {
    let vocab = op.check()?;
    let hidden = op.table.dims().as_slice()[1];
    let table = Table::of(&op.table)?;
    let ids = op.ids.host::<u32>()?;
    for (&id, out) in ids.iter().zip(op.out.host::<f32>()?.chunks_exact_mut(hidden.max(1))) {
        match id as usize {
            id if id < vocab => table.row_into(id, out),
            _ => out.fill(f32::NAN),
        }
    }
    Ok(())
}
