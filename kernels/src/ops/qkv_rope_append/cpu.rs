//! Row by row: a row is three short copies and a rotation.
use super::QkvRopeAppend;
use super::places::{Rows, places};
use crate::ops::attention_paged::{logical_pages, table_stride};
use crate::{PAGE_TOKENS, Result};

pub(crate) fn run(mut op: QkvRopeAppend<'_>) -> Result<()> {
    let heads = op.check()?;
    let head_dim = heads.head_dim;
    let half = heads.head_dim / 2;
    let queries = heads.queries * head_dim;
    let keys = heads.keys * head_dim;
    let cos = op.cos.host::<f32>()?;
    let sin = op.sin.host::<f32>()?;
    let positions = op.positions.host::<u32>()?;
    let table = op.block_table.host_strided::<u32>()?.0;
    let qkv = op.qkv.host::<f32>()?;
    let k_pages = op.k_pages.host::<f32>()?;
    let v_pages = op.v_pages.host::<f32>()?;
    let q = op.q.host::<f32>()?;
    if queries == 0 {
        return Ok(());
    }
    let table_pages = logical_pages(&op.block_table);
    let table_stride = table_stride(&op.block_table);
    let places = places(Rows { positions, table, table_pages, table_stride }, heads);
    let rows = qkv.chunks_exact(queries + 2 * keys).zip(q.chunks_exact_mut(queries));
    for ((row, q), (&position, place)) in rows.zip(positions.iter().zip(places)) {
        let Some(place) = place else {
            q.fill(f32::NAN);
            continue;
        };
        let angles = position as usize * half..(position as usize + 1) * half;
        let cos = &cos[angles.clone()];
        let sin = &sin[angles];
        for (out, x) in q.chunks_exact_mut(head_dim).zip(row.chunks_exact(head_dim)) {
            rotate(x, cos, sin, out);
        }
        for head in 0..heads.keys {
            let at = ((place.page * heads.keys + head) * PAGE_TOKENS + place.slot) * head_dim;
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
        let a = x[i];
        let b = x[i + half];
        out[i] = a * cos[i] - b * sin[i];
        out[i + half] = b * cos[i] + a * sin[i];
    }
}
