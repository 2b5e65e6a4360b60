//! One query at a time.
use super::{AttentionPaged, reference};
use crate::{PAGE_TOKENS, Result};
use rayon::prelude::*;

pub(crate) fn run(mut op: AttentionPaged<'_>) -> Result<()> {
    let shape = op.check()?;
    let (q, k, v) = (op.q.host::<f32>()?, op.k_pages.host::<f32>()?, op.v_pages.host::<f32>()?);
    let (positions, table) = (op.positions.host::<u32>()?, op.block_table.host::<u32>()?);
    let (heads, kv_heads, head_dim) = (op.heads, op.kv_heads, shape.head_dim);
    let scale = f64::from(op.scale);
    op.out.host::<f32>()?.par_chunks_exact_mut(head_dim).enumerate().for_each(|(index, out)| {
        let (row, head) = (index / heads, index % heads);
        let kv_head = head / (heads / kv_heads);
        let at = |token: usize| {
            let page = table[token / PAGE_TOKENS] as usize;
            ((page * kv_heads + kv_head) * PAGE_TOKENS + token % PAGE_TOKENS) * head_dim
        };
        let seen = 0..=positions[row] as usize;
        let keys = seen.clone().map(|token| &k[at(token)..][..head_dim]);
        let values = seen.map(|token| &v[at(token)..][..head_dim]);
        let query = &q[index * head_dim..][..head_dim];
        for (out, value) in out.iter_mut().zip(reference::attend(query, keys, values, scale)) {
            *out = value as f32;
        }
    });
    Ok(())
}
