//! Not on the GPU yet.
use super::TgisScores;
use crate::gpu::Gpu;
use crate::{Error, Result};

pub(crate) fn run(_gpu: &Gpu, op: TgisScores<'_>) -> Result<()> {
    op.check()?;
    Err(Error::Unavailable { detail: "tgis_scores has no GPU kernel yet; use --device cpu".into() })
}
