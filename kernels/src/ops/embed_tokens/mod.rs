//! `embed_tokens`: rows of the token table.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[r] = table[ids[r]]`; exact up to the rounding of `out`'s element type. The row of an id outside the table is
/// NaN, on every device: a GPU does not read ids before it launches.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below.
pub struct EmbedTokens<'a> {
    /// `[vocab, hidden]`; f32, f16 or bf16.
    pub table: View<'a>,
    /// `[rows]`, u32, each below `vocab`.
    pub ids: View<'a>,
    /// `[rows, hidden]`, activations.
    pub out: ViewMut<'a>,
}

impl EmbedTokens<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let table_rows = self.out.dims().count() * self.table.dtype().bytes();
        Work::of(&[&self.ids], &[&self.out], 0).and_bytes(table_rows)
    }

    /// Checks the contract; gives the vocabulary's size.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("embed_tokens");
        dims.input("table", &self.table, &["vocab", "hidden"])?;
        dims.typed("ids", &self.ids, DType::U32, &["rows"])?;
        dims.output("out", &self.out, &["rows", "hidden"])?;
        Ok(dims.size("vocab"))
    }
}
