//! Not on the GPU yet.
use super::EmbedTokens;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: EmbedTokens<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "embed_tokens has no GPU kernel yet; use --device cpu".into() })
}
