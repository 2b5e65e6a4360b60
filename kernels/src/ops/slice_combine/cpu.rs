//! Blocks of elements in parallel, slices in order, so that the sum repeats bit for bit.
use super::SliceCombine;
use crate::Result;
use rayon::prelude::*;

/// Elements per task: the block's sums stay in the first-level cache.
const BLOCK: usize = 2048;

pub(crate) fn run(mut op: SliceCombine<'_>) -> Result<()> {
    let slice = op.check()?;
    let tokens = op.z_2d_slices.host::<f32>()?;
    let scores = op.scores.host::<f32>()?;
    op.out.host::<f32>()?.par_chunks_mut(BLOCK).enumerate().for_each(|(block, out)| {
        let mut sums = [0f64; BLOCK];
        for (&score, slice) in scores.iter().zip(tokens.chunks_exact(slice.max(1))) {
            for (sum, &value) in sums.iter_mut().zip(&slice[block * BLOCK..][..out.len()]) {
                *sum += f64::from(score) * f64::from(value);
            }
        }
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = *sum as f32;
        }
    });
    Ok(())
}
