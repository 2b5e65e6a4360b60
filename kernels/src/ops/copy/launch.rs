//! Not on the GPU yet.
use super::Copy;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: Copy<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "copy has no GPU kernel yet; use --device cpu".into() })
}
