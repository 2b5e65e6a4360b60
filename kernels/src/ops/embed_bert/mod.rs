//! `embed_bert`: BERT's input, the layer norm of word + position + token type.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
#[cfg(test)]
mod tests;

/// `out[r] = layer_norm(words[ids[r]] + positions[r] + types[0])`. The row of an id outside the table is NaN, on every
/// device: a GPU does not read ids before it launches.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, or there are more rows than positions or no type.
pub struct EmbedBert<'a> {
    /// `[vocab, hidden]`.
    pub words: View<'a>,
    /// `[positions, hidden]`.
    pub positions: View<'a>,
    /// `[types, hidden]`; row 0 is used.
    pub types: View<'a>,
    /// `[hidden]`.
    pub weight: View<'a>,
    /// `[hidden]`.
    pub bias: View<'a>,
    /// Added to the variance; 1e-12 for BERT.
    pub eps: f32,
    /// `[rows]`, u32.
    pub ids: View<'a>,
    /// `[rows, hidden]`, activations.
    pub out: ViewMut<'a>,
}

impl EmbedBert<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let elements = self.out.dims().count();
        let table_rows = 2 * elements * self.words.dtype().bytes();
        Work::of(&[&self.weight, &self.bias, &self.ids], &[&self.out], 10 * elements).and_bytes(table_rows)
    }

    /// Checks the contract; gives the vocabulary's size.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<usize> {
        let mut dims = DimCheck::new("embed_bert");
        dims.input("words", &self.words, &["vocab", "hidden"])?;
        dims.input("positions", &self.positions, &["positions", "hidden"])?;
        dims.input("types", &self.types, &["types", "hidden"])?;
        dims.input("weight", &self.weight, &["hidden"])?;
        dims.input("bias", &self.bias, &["hidden"])?;
        dims.typed("ids", &self.ids, DType::U32, &["rows"])?;
        dims.output("out", &self.out, &["rows", "hidden"])?;
        let rows = dims.size("rows");
        let positions = dims.size("positions");
        dims.require(dims.size("types") > 0, || "no token type".into())?;
        dims.require(rows <= positions, || format!("{rows} tokens, but positions for {positions}"))?;
        Ok(dims.size("vocab"))
    }
}
