//! The definition, in f64. It is what the CPU runs: N is 32.

/// `softmax_j(keys[j] · guide / temperature)`, NaN for all slices where one's logit is not finite; `keys` is
/// `[slices, dim]`.
pub fn tgis_scores(keys: &[f32], guide: &[f32], dim: usize, temperature: f64) -> Vec<f64> {
    let dot = |key: &[f32]| key.iter().zip(guide).map(|(&k, &g)| f64::from(k) * f64::from(g)).sum::<f64>();
    let logits: Vec<f64> = keys.chunks_exact(dim).map(|key| dot(key) / temperature).collect();
    if !logits.iter().all(|logit| logit.is_finite()) {
        return vec![f64::NAN; logits.len()];
    }
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / sum).collect()
}
