//! Gathers the patches, starts every token at its position and lets `linear` add the product.
use super::PatchEmbed3d;
use crate::Result;
use crate::cpu::{Precision, gather, widen};
use crate::ops::linear::{self, Epilogue, Linear};

pub(crate) fn run(mut op: PatchEmbed3d<'_>, precision: Precision) -> Result<()> {
    let grid = op.check()?;
    let hidden = op.bias.dims().as_slice()[0];
    let patches = grid.iter().product::<usize>();
    let gathered = gather::patches(op.volume.host::<f32>()?, grid, op.patch)?;
    let out = op.out.host::<f32>()?;
    widen::row_into(&op.class_token, 0, &mut out[..hidden])?;
    for (patch, out) in out[hidden..].chunks_exact_mut(hidden).enumerate() {
        widen::row_into(&op.positions, patch, out)?;
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
