//! Not on the GPU yet.
use super::EmbedBert;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: EmbedBert<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "embed_bert has no GPU kernel yet; use --device cpu".into() })
}
