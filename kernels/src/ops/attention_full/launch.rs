//! Not on the GPU yet.
use super::AttentionFull;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: AttentionFull<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "attention_full has no GPU kernel yet; use --device cpu".into() })
}
