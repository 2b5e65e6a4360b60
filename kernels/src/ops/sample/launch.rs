//! Not on the GPU yet.
use super::Sample;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: Sample<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "sample has no GPU kernel yet; use --device cpu".into() })
}
