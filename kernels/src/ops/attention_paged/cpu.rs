//! Heads and blocks of queries in parallel.
use super::{AttentionPaged, logical_pages, table_stride};
use crate::cpu::Precision;
use crate::cpu::attend::{Attend, Seen, Tokens, block_queries};
use crate::cpu::fast::{self, Way};
use crate::cpu::lanes::{Isa, Rows, RowsMut};
use crate::cpu::product::Shared;
use crate::{PAGE_TOKENS, Result};
use rayon::prelude::*;

pub(crate) fn run(op: AttentionPaged<'_>, precision: Precision) -> Result<()> {
    run_on(op, Isa::best(), fast::way(precision))
}

pub(crate) fn run_on(mut op: AttentionPaged<'_>, isa: Isa, way: Option<Way>) -> Result<()> {
    let shape = op.check()?;
    let (q, k, v) = (op.q.host::<f32>()?, op.k_pages.host::<f32>()?, op.v_pages.host::<f32>()?);
    let (positions, table) = (op.positions.host::<u32>()?, op.block_table.host::<u32>()?);
    let (heads, kv_heads, head_dim, scale) = (op.heads, op.kv_heads, shape.head_dim, op.scale);
    let (apart, entries) = (table_stride(&op.block_table), logical_pages(&op.block_table));
    let table_of = |row: usize| &table[row * apart..][..entries];
    for (row, &position) in positions.iter().enumerate() {
        let seen = position as usize / PAGE_TOKENS + 1;
        assert!(seen <= entries, "the block table covers every position");
        let known = table_of(row)[..seen].iter().all(|&page| (page as usize) < shape.pages);
        assert!(known, "page numbers lie in the cache");
    }
    assert!(apart > 0 || positions.is_sorted(), "positions ascend");
    let (hidden, page) = (heads * head_dim, kv_heads * PAGE_TOKENS * head_dim);
    let out = Shared(op.out.host::<f32>()?.as_mut_ptr());
    // A row with a sequence of its own gets the bits that it would get alone.
    let (block, alike) = if apart > 0 { (1, 1) } else { (block_queries(shape.rows, heads), shape.rows) };
    let blocks = shape.rows.div_ceil(block);
    (0..heads * blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let (head, first) = (task / blocks, task % blocks * block);
        let queries = block.min(shape.rows - first);
        let cached = |values: &[f32]| {
            let at = head / (heads / kv_heads) * PAGE_TOKENS * head_dim;
            Rows { at: values.as_ptr().wrapping_add(at), stride: head_dim }
        };
        let at = first * hidden + head * head_dim;
        let task = Attend {
            q: Rows { at: q.as_ptr().wrapping_add(at), stride: hidden },
            tokens: Tokens { k: cached(k), v: cached(v), pages: Some((table_of(first), page)) },
            seen: Seen::UpTo(&positions[first..first + queries]),
            queries,
            head_dim,
            scale,
            // Tasks write disjoint rows or columns.
            out: RowsMut { at: { out }.0.wrapping_add(at), stride: hidden },
        };
        task.run_on(isa, way, alike);
    });
    Ok(())
}
