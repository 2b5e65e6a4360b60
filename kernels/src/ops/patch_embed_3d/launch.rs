//! Not on the GPU yet.
use super::PatchEmbed3d;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: PatchEmbed3d<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "patch_embed_3d has no GPU kernel yet; use --device cpu".into() })
}
