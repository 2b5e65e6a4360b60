//! Not on the GPU yet.
use super::QkvRopeAppend;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: QkvRopeAppend<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "qkv_rope_append has no GPU kernel yet; use --device cpu".into() })
}
