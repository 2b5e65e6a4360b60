//! Not on the GPU yet.
use super::LayerNorm;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: LayerNorm<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "layer_norm has no GPU kernel yet; use --device cpu".into() })
}
