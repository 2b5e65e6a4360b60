//! The product in whichever way suits the number of rows and the processor.
use super::Linear;
use crate::Result;
use crate::cpu::Precision;
use crate::cpu::fast::{self, Offer};
use crate::cpu::lanes::Isa;
use crate::cpu::product::{Product, Weights};
use crate::cpu::widen::floats;

/// How this device multiplies.
pub(crate) fn describe(precision: Precision) -> String {
    let base = format!("cpu, {} threads, {:?}, {precision:?}", rayon::current_num_threads(), Isa::best());
    match (precision, fast::offer()) {
        (Precision::Exact, _) => base,
        (Precision::FastTwin, _) => format!("{base}, bf16 in plain Rust"),
        (Precision::Fast, Offer::Checked(way)) => format!("{base}, bf16 by {way:?}"),
        (Precision::Fast, Offer::Nothing) => format!("{base} (as Exact: the processor does not multiply bf16)"),
        (Precision::Fast, Offer::Refused(way)) => {
            format!("{base} (as Exact: {way:?} differs from plain arithmetic here; please report the processor)")
        }
    }
}

pub(crate) fn run(mut op: Linear<'_>, precision: Precision) -> Result<()> {
    let shape = op.check()?;
    let bias = op.bias.as_ref().map(floats).transpose()?;
    let product = Product {
        x: op.x.host()?,
        weights: Weights::of(&op.weight)?,
        bias: bias.as_deref(),
        epilogue: op.epilogue,
        rows: shape.rows,
        inner: shape.inner,
        columns: shape.out,
    };
    product.run(Isa::best(), precision, op.out.host()?);
    Ok(())
}
