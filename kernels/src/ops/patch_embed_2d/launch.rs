//! Not on the GPU yet.
use super::PatchEmbed2d;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: PatchEmbed2d<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "patch_embed_2d has no GPU kernel yet; use --device cpu".into() })
}
