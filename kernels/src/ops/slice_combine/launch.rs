//! Not on the GPU yet.
use super::SliceCombine;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: SliceCombine<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "slice_combine has no GPU kernel yet; use --device cpu".into() })
}
