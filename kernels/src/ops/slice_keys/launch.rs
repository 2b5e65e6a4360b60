//! Not on the GPU yet.
use super::SliceKeys;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: SliceKeys<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "slice_keys has no GPU kernel yet; use --device cpu".into() })
}
