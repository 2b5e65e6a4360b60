//! The definition, in f64.

/// One row of `(x - mean) / sqrt(variance + eps) * weight + bias`.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> Vec<f64> {
    let count = x.len() as f64;
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + eps).sqrt();
    let terms = x.iter().zip(weight).zip(bias);
    terms.map(|((&x, &weight), &bias)| (f64::from(x) - mean) * scale * f64::from(weight) + f64::from(bias)).collect()
}
