//! Not on the GPU yet.
use super::SliceMax;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: SliceMax<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "slice_max has no GPU kernel yet; use --device cpu".into() })
}
