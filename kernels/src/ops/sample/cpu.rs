//! Sorts the candidates, then walks their cumulative probabilities.
use super::{Sample, Sampling, philox};
use crate::{NON_FINITE, Result};

pub(crate) fn run(mut op: Sample<'_>) -> Result<()> {
    op.check()?;
    let logits = op.logits.host::<f32>()?;
    let best = argmax(logits);
    let draws = op.sampling.temperature > 0.0 && best != NON_FINITE;
    op.out.host::<u32>()?[0] = if draws { draw(logits, op.sampling, op.step) } else { best };
    Ok(())
}

/// The largest logit, the lowest id among equals; [`NON_FINITE`] where one is NaN or infinite.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    let mut finite = true;
    for (id, &logit) in logits.iter().enumerate() {
        finite &= logit.is_finite();
        if logit > best.1 {
            best = (id, logit);
        }
    }
    if finite { best.0 as u32 } else { NON_FINITE }
}

/// Draws from finite logits.
fn draw(logits: &[f32], sampling: Sampling, step: u64) -> u32 {
    let mut candidates: Vec<(u32, f32)> = (0u32..).zip(logits.iter().copied()).collect();
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        candidates.truncate(sampling.top_k as usize);
    }
    let highest = candidates[0].1;
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
    candidates[kept - 1].0
}
