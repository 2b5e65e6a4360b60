//! Rows in parallel; statistics in f64, since a row is short and the mean may be large beside its spread.
use super::LayerNorm;
use crate::Result;
use crate::cpu::widen::floats;
use rayon::prelude::*;

pub(crate) fn run(mut op: LayerNorm<'_>) -> Result<()> {
    let dim = op.check()?;
    let weight = floats(&op.weight)?;
    let bias = floats(&op.bias)?;
    let eps = op.eps;
    let x = op.x.host::<f32>()?;
    let out = op.out.host::<f32>()?;
    out.par_chunks_exact_mut(dim.max(1))
        .with_min_len(16)
        .zip(x.par_chunks_exact(dim.max(1)))
        .for_each(|(out, x)| normalise(x, &weight, &bias, eps, out));
    Ok(())
}

/// One row.
pub(crate) fn normalise(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let count = x.len() as f64;
    let mean = lane_sum(x, f64::from) / count;
    let variance = lane_sum(x, |v| (f64::from(v) - mean) * (f64::from(v) - mean)) / count;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    for (((out, &x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
        *out = ((f64::from(x) - mean) * scale) as f32 * weight + bias;
    }
}

/// A sum in eight independent lanes, so that the compiler can use vector registers; the order is fixed.
pub(crate) fn lane_sum(x: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let mut lanes = [0f64; 8];
    let chunks = x.chunks_exact(8);
    let rest: f64 = chunks.remainder().iter().map(|&v| term(v)).sum();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    lanes.iter().sum::<f64>() + rest
}
