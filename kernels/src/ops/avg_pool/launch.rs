//! Not on the GPU yet.
use super::AvgPool;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: AvgPool<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "avg_pool has no GPU kernel yet; use --device cpu".into() })
}
