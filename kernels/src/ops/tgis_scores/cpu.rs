//! N dot products and one softmax, in f64.
use super::{TgisScores, reference};
use crate::Result;
use crate::cpu::widen::floats;

pub(crate) fn run(mut op: TgisScores<'_>) -> Result<()> {
    let dim = op.check()?;
    let scores = reference::tgis_scores(op.keys.host()?, &floats(&op.guide)?, dim, f64::from(op.temperature));
    for (out, score) in op.scores.host::<f32>()?.iter_mut().zip(scores) {
        *out = score as f32;
    }
    Ok(())
}
