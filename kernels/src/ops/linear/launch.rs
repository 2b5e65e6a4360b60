//! Not on the GPU yet.
use super::Linear;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: Linear<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "linear has no GPU kernel yet; use --device cpu".into() })
}
