//! Row by row: a row is three short copies and a rotation.
use super::QkvRopeAppend;
use crate::ops::attention_paged::table_stride;
use crate::{PAGE_TOKENS, Result};

pub(crate) fn run(mut op: QkvRopeAppend<'_>) -> Result<()> {
    let head_dim = op.check()?;
    let half = head_dim / 2;
    let (queries, keys) = (op.heads * head_dim, op.kv_heads * head_dim);
    let (cos, sin) = (op.cos.host::<f32>()?, op.sin.host::<f32>()?);
    let (positions, block_table) = (op.positions.host::<u32>()?, op.block_table.host::<u32>()?);
    let qkv = op.qkv.host::<f32>()?;
    let (k_pages, v_pages) = (op.k_pages.host::<f32>()?, op.v_pages.host::<f32>()?);
    let rows = qkv.chunks_exact(queries + 2 * keys).zip(op.q.host::<f32>()?.chunks_exact_mut(queries));
    let apart = table_stride(&op.block_table);
    for (at, ((row, q), &position)) in rows.zip(positions).enumerate() {
        let position = position as usize;
        let angles = position * half..(position + 1) * half;
        let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
        for (out, x) in q.chunks_exact_mut(head_dim).zip(row.chunks_exact(head_dim)) {
            rotate(x, cos, sin, out);
        }
        let page = block_table[at * apart + position / PAGE_TOKENS] as usize;
        for head in 0..op.kv_heads {
            let at = ((page * op.kv_heads + head) * PAGE_TOKENS + position % PAGE_TOKENS) * head_dim;
            rotate(&row[queries + head * head_dim..][..head_dim], cos, sin, &mut k_pages[at..at + head_dim]);
            v_pages[at..at + head_dim].copy_from_slice(&row[queries + keys + head * head_dim..][..head_dim]);
        }
    }
    Ok(())
}

/// Turns each pair (i, i + half) by its angle.
fn rotate(x: &[f32], cos: &[f32], sin: &[f32], out: &mut [f32]) {
    let half = cos.len();
    for i in 0..half {
        let (a, b) = (x[i], x[i + half]);
        out[i] = a * cos[i] - b * sin[i];
        out[i + half] = b * cos[i] + a * sin[i];
    }
}
