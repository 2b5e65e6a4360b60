//! The definition, in f64.

/// Softmax-weighted mean of `values` for one query; `keys` and `values` yield one row per visible token.
pub fn attend<'a>(
    query: &[f32],
    keys: impl Iterator<Item = &'a [f32]>,
    values: impl Iterator<Item = &'a [f32]>,
    scale: f64,
) -> Vec<f64> {
    let dot = |key: &[f32]| query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>() * scale;
    let logits: Vec<f64> = keys.map(dot).collect();
    let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|logit| (logit - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut out = vec![0f64; query.len()];
    for (weight, value) in weights.iter().zip(values) {
        for (out, &value) in out.iter_mut().zip(value) {
            *out += weight / total * f64::from(value);
        }
    }
    out
}
