//! Sorts the candidates, then walks their cumulative probabilities.
use super::{Sample, Sampling, philox};
use crate::Result;

pub(crate) fn run(mut op: Sample<'_>) -> Result<()> {
    op.check()?;
    let logits = op.logits.host::<f32>()?;
    let token = if op.sampling.temperature == 0.0 { argmax(logits) } else { draw(logits, op.sampling, op.step) };
    op.out.host::<u32>()?[0] = token;
    Ok(())
}

/// The largest logit, the lowest id among equals. NaN never wins.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (id, logit);
        }
    }
    best.0 as u32
}

fn draw(logits: &[f32], sampling: Sampling, step: u64) -> u32 {
    let mut candidates: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).filter(|c| !c.1.is_nan()).collect();
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        candidates.truncate(sampling.top_k as usize);
    }
    let Some(&(first, highest)) = candidates.first() else { return 0 };
    let weight = |logit: f32| (f64::from(logit - highest) / f64::from(sampling.temperature)).exp();
    let weights: Vec<f64> = candidates.iter().map(|&(_, logit)| weight(logit)).collect();
    let total: f64 = weights.iter().sum();
    let (mut kept, mut mass) = (0, 0.0);
    while kept < weights.len() && (kept == 0 || mass < f64::from(sampling.top_p) * total) {
        mass += weights[kept];
        kept += 1;
    }
    let mut left = f64::from(philox::uniform(sampling.seed, step)) * mass;
    for (&(id, _), weight) in candidates.iter().zip(&weights[..kept]) {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    candidates.get(kept.saturating_sub(1)).map_or(first, |last| last.0)
}
