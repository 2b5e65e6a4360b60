//! One query at a time.
use super::{AttentionFull, reference};
use crate::Result;
use rayon::prelude::*;

pub(crate) fn run(mut op: AttentionFull<'_>) -> Result<()> {
    let shape = op.check()?;
    let (q, q_stride) = op.q.host_strided::<f32>()?;
    let (k, k_stride) = op.k.host_strided::<f32>()?;
    let (v, v_stride) = op.v.host_strided::<f32>()?;
    let (tokens, head_dim, scale) = (shape.tokens, shape.head_dim, f64::from(op.scale));
    op.out.host::<f32>()?.par_chunks_exact_mut(op.heads * head_dim).enumerate().for_each(|(row, out)| {
        let first = row / tokens * tokens;
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let column = head * head_dim;
            let query = &q[row * q_stride + column..][..head_dim];
            let keys = (first..first + tokens).map(|t| &k[t * k_stride + column..][..head_dim]);
            let values = (first..first + tokens).map(|t| &v[t * v_stride + column..][..head_dim]);
            for (out, value) in out.iter_mut().zip(reference::attend(query, keys, values, scale)) {
                *out = value as f32;
            }
        }
    });
    Ok(())
}
