//! Rows in parallel, the sum of squares in f64.
use super::RmsNorm;
use crate::Result;
use crate::cpu::widen::floats;
use crate::ops::layer_norm::cpu::lane_sum;
use rayon::prelude::*;

pub(crate) fn run(mut op: RmsNorm<'_>) -> Result<()> {
    let dim = op.check()?;
    let weight = floats(&op.weight)?;
    let eps = f64::from(op.eps);
    let x = op.x.host::<f32>()?;
    let row = |(out, x): (&mut [f32], &[f32])| {
        let mean_square = lane_sum(x, |v| f64::from(v) * f64::from(v)) / dim as f64;
        let scale = 1.0 / (mean_square + eps).sqrt();
        for ((out, &x), weight) in out.iter_mut().zip(x).zip(weight.iter()) {
            *out = (f64::from(x) * scale) as f32 * weight;
        }
    };
    let rows = op.out.host::<f32>()?.par_chunks_exact_mut(dim.max(1));
    let x = x.par_chunks_exact(dim.max(1));
    rows.with_min_len(16).zip(x).for_each(row);
    Ok(())
}
