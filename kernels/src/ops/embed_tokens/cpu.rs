//! Gathers rows in order.
use super::EmbedTokens;
use crate::cpu::widen;
use crate::{Error, Result};

pub(crate) fn run(mut op: EmbedTokens<'_>) -> Result<()> {
    let vocab = op.check()?;
    let hidden = op.table.dims().as_slice()[1];
    let ids = op.ids.host::<u32>()?;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
        return Err(Error::Contract {
            op: "embed_tokens",
            detail: format!("id {id} is outside a table of {vocab} rows"),
        });
    }
    for (&id, out) in ids.iter().zip(op.out.host::<f32>()?.chunks_exact_mut(hidden)) {
        widen::row_into(&op.table, id as usize, out)?;
    }
    Ok(())
}
