//! The 3D embedding with patches one slice thick and no class token.
use super::PatchEmbed2d;
use crate::Result;
use crate::gpu::Gpu;
use crate::ops::patch_embed_3d::launch::{PatchEmbed, embed};

pub(crate) fn run(gpu: &Gpu, op: PatchEmbed2d<'_>) -> Result<()> {
    let grid = op.check()?;
    let PatchEmbed2d { volume, patch, weight, bias, positions, out } = op;
    let patch = [1, patch, patch];
    let class_token = None;
    let args = gpu.args("patch_embed_2d")?;
    embed(&args, PatchEmbed { volume, grid, patch, weight, bias, positions, class_token, out })
}
