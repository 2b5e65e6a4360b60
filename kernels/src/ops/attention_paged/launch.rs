//! Not on the GPU yet.
use super::AttentionPaged;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: AttentionPaged<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "attention_paged has no GPU kernel yet; use --device cpu".into() })
}
