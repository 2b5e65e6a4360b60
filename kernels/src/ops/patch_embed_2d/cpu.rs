//! Gathers the patches of all slices, starts every token at its position and lets `linear` add the product.
use super::PatchEmbed2d;
use crate::Result;
use crate::cpu::product::Weights;
use crate::cpu::{Precision, gather, widen::floats};
use crate::ops::linear::{self, Epilogue, Linear};

pub(crate) fn run(mut op: PatchEmbed2d<'_>, precision: Precision) -> Result<()> {
    let grid = op.check()?;
    let gathered = gather::patches(op.volume.host::<f32>()?, grid, [1, op.patch, op.patch])?;
    let positions = floats(&op.positions)?;
    // Before anything is written: `linear` would refuse them later.
    Weights::of(&op.weight)?;
    floats(&op.bias)?;
    for slice in op.out.host::<f32>()?.chunks_exact_mut(positions.len().max(1)) {
        slice.copy_from_slice(&positions);
    }
    linear::cpu::run(
        Linear {
            x: gathered.view(),
            weight: op.weight,
            bias: Some(op.bias),
            epilogue: Epilogue::Residual,
            out: op.out,
        },
        precision,
    )
}
