//! One output token at a time, summed in f64 in the order of the grid.
use super::AvgPool;
use crate::Result;
use rayon::prelude::*;

pub(crate) fn run(mut op: AvgPool<'_>) -> Result<()> {
    op.check()?;
    let ([depth, height, width], [w0, w1, w2]) = (op.grid, op.window);
    let pooled = [depth / w0, height / w1, width / w2];
    let per_grid: usize = pooled.iter().product();
    let dim = op.x.dims().as_slice()[1];
    let x = op.x.host::<f32>()?;
    let scale = 1.0 / (w0 * w1 * w2) as f64;
    op.out.host::<f32>()?.par_chunks_exact_mut(dim.max(1)).enumerate().for_each(|(index, out)| {
        let grid = index / per_grid;
        let cell = index % per_grid;
        let d = cell / (pooled[1] * pooled[2]);
        let h = cell / pooled[2] % pooled[1];
        let w = cell % pooled[2];
        let mut sum = vec![0f64; dim];
        for (i, j, k) in (0..w0).flat_map(|i| (0..w1).flat_map(move |j| (0..w2).map(move |k| (i, j, k)))) {
            let token = ((grid * depth + d * w0 + i) * height + h * w1 + j) * width + w * w2 + k;
            for (sum, &value) in sum.iter_mut().zip(&x[token * dim..][..dim]) {
                *sum += f64::from(value);
            }
        }
        for (out, sum) in out.iter_mut().zip(&sum) {
            *out = (sum * scale) as f32;
        }
    });
    Ok(())
}
