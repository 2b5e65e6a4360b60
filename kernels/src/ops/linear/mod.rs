//! `linear`: x · Wᵀ + b with a fused epilogue; nearly all arithmetic of the model.
use crate::{DType, DimCheck, Result, View, ViewMut, Work};

pub(crate) mod cpu;
pub(crate) mod few;
#[cfg(test)]
mod gpu_tests;
pub(crate) mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

/// What happens to `x · Wᵀ + b` before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// Stored as it is.
    None,
    /// `v/2 · (1 + erf(v/√2))`: the 3D ViT, BERT and both connectors.
    GeluErf,
    /// `v/2 · (1 + tanh(√(2/π)(v + 0.044715 v³)))`: SigLIP.
    GeluTanh,
    /// `tanh v`: BERT's pooler.
    Tanh,
    /// `out += v`: the residual stream is updated in place.
    Residual,
    /// Weight rows `0..out` are the gate, the next `out` rows the value: `value · gate / (1 + e^-gate)`.
    SwiGlu,
}

/// `out = epilogue(x · Wᵀ + b)`.
///
/// Accumulates in f32 or better; rounds once, when it stores. What is not finite before the epilogue is not finite
/// after it, though the limits of the activations are: an answer shall not rest on a weight that is an infinity.
///
/// # Errors
/// [`crate::Error::Contract`] if a dim contradicts the shapes below, or `bias` comes with [`Epilogue::SwiGlu`], which
/// no network here has.
pub struct Linear<'a> {
    /// `[rows, in]`, activations.
    pub x: View<'a>,
    /// `[out, in]`, or `[2·out, in]` for SwiGLU; f32, f16 or bf16.
    pub weight: View<'a>,
    /// `[out]`; f32, f16 or bf16.
    pub bias: Option<View<'a>>,
    /// What happens before the store.
    pub epilogue: Epilogue,
    /// `[rows, out]`, activations, or f32 (logits).
    pub out: ViewMut<'a>,
}

/// The sizes of a checked call.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Rows of `x`.
    pub rows: usize,
    /// Columns of `x`.
    pub inner: usize,
    /// Columns of `out`.
    pub out: usize,
}

impl Linear<'_> {
    /// The least that the call must move and compute.
    pub fn work(&self) -> Work {
        let rows = self.x.dims().as_slice()[0];
        let bias = self.bias.map_or(0, |bias| bias.bytes());
        let old = if self.epilogue == Epilogue::Residual { self.out.bytes() } else { 0 };
        let flops = 2 * rows * self.weight.dims().count();
        Work::of(&[&self.x, &self.weight], &[&self.out], flops).and_bytes(bias + old)
    }

    /// Checks the contract.
    ///
    /// # Errors
    /// As the op's.
    pub fn check(&self) -> Result<Shape> {
        Ok(check_product("linear", [&self.x, &self.weight], &self.bias, self.epilogue, &self.out)?.1)
    }
}

/// Checks the part of a contract that is a product and its end; gives the dims that it bound, for further checks.
pub(crate) fn check_product(
    op: &'static str,
    [x, weight]: [&View<'_>; 2],
    bias: &Option<View<'_>>,
    epilogue: Epilogue,
    out: &ViewMut<'_>,
) -> Result<(DimCheck, Shape)> {
    let mut dims = DimCheck::new(op);
    dims.input("x", x, &["rows", "in"])?;
    dims.output("out", out, &["rows", "out"])?;
    if epilogue == Epilogue::SwiGlu {
        dims.bind("out", "2·out", 2 * dims.size("out"))?;
        dims.input("weight", weight, &["2·out", "in"])?;
        dims.require(bias.is_none(), || "SwiGLU takes no bias".into())?;
    } else {
        dims.input("weight", weight, &["out", "in"])?;
    }
    dims.optional("bias", bias, &["out"])?;
    let found = out.dtype();
    let own = x.dtype();
    dims.require(found == DType::F32 || found == own, || format!("out holds {found:?}, wanted F32 or x's {own:?}"))?;
    let shape = Shape { rows: dims.size("rows"), inner: dims.size("in"), out: dims.size("out") };
    Ok((dims, shape))
}
