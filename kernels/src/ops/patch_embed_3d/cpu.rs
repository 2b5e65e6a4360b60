//! Gathers the patches, starts every token at its position and lets `linear` add the product.
use super::PatchEmbed3d;
use crate::Result;
use crate::cpu::product::Weights;
use crate::cpu::widen::{Table, floats};
use crate::cpu::{Precision, gather};
use crate::ops::linear::{self, Epilogue, Linear};

pub(crate) fn run(mut op: PatchEmbed3d<'_>, precision: Precision) -> Result<()> {
    let grid = op.check()?;
    let hidden = op.bias.dims().as_slice()[0];
    let patches = grid.iter().product::<usize>();
    let gathered = gather::patches(op.volume.host::<f32>()?, grid, op.patch)?;
    let class_token = Table::of(&op.class_token)?;
    let positions = Table::of(&op.positions)?;
    // Before anything is written: `linear` would refuse them later.
    Weights::of(&op.weight)?;
    floats(&op.bias)?;
    let out = op.out.host::<f32>()?;
    if hidden == 0 {
        return Ok(());
    }
    class_token.row_into(0, &mut out[..hidden]);
    for (patch, out) in out[hidden..].chunks_exact_mut(hidden).enumerate() {
        positions.row_into(patch, out);
    }
    linear::cpu::run(
        Linear {
            x: gathered.view(),
            weight: op.weight,
            bias: Some(op.bias),
            epilogue: Epilogue::Residual,
            out: op.out.rows(1..1 + patches),
        },
        precision,
    )
}
