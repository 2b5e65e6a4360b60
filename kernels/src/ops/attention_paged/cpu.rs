//! Heads and blocks of queries in parallel.
use super::{AttentionPaged, Shape, logical_pages, table_stride};
use crate::cpu::Precision;
use crate::cpu::attend::{Attend, Seen, Tokens, block_queries};
use crate::cpu::fast::{self, Way};
use crate::cpu::lanes::{Isa, Rows, RowsMut};
use crate::cpu::product::Shared;
use crate::{PAGE_TOKENS, Result};
use rayon::prelude::*;
use std::iter::repeat_n;
use std::ops::Range;

pub(crate) fn run(op: AttentionPaged<'_>, precision: Precision) -> Result<()> {
    run_on(op, Isa::best(), fast::way(precision))
}

pub(crate) fn run_on(mut op: AttentionPaged<'_>, isa: Isa, way: Option<Way>) -> Result<()> {
    let shape = op.check()?;
    let q = op.q.host::<f32>()?;
    let k = op.k_pages.host::<f32>()?;
    let v = op.v_pages.host::<f32>()?;
    let positions = op.positions.host::<u32>()?;
    let table = op.block_table.host_strided::<u32>()?.0;
    let heads = op.heads;
    let kv_heads = op.kv_heads;
    let head_dim = shape.head_dim;
    let scale = op.scale;
    let apart = table_stride(&op.block_table);
    let entries = logical_pages(&op.block_table);
    let run_lengths = op.row_runs(shape.rows);
    let run_of: Vec<usize> = run_lengths.iter().enumerate().flat_map(|(run, &rows)| repeat_n(run, rows)).collect();
    let table_of = |row: usize| &table[run_of[row] * apart..][..entries];
    let hidden = heads * head_dim;
    let page = kv_heads * PAGE_TOKENS * head_dim;
    let out = op.out.host::<f32>()?;
    if out.is_empty() {
        return Ok(());
    }
    let known = known_rows(positions, table_of, shape);
    for (out, _) in out.chunks_exact_mut(hidden).zip(&known).filter(|(_, known)| !**known) {
        out.fill(f32::NAN);
    }
    let out = Shared(out.as_mut_ptr());
    let mut blocks = Vec::new();
    let mut first = 0;
    for &rows in &run_lengths {
        let run = first..first + rows;
        blocks.extend(blocks_of(positions, &known, run, block_queries(rows, heads)));
        first += rows;
    }
    (0..heads * blocks.len()).into_par_iter().with_max_len(1).for_each(|task| {
        let head = task / blocks.len();
        let rows = blocks[task % blocks.len()].clone();
        let cached = |values: &[f32]| {
            let at = head / (heads / kv_heads) * PAGE_TOKENS * head_dim;
            Rows { at: values.as_ptr().wrapping_add(at), stride: head_dim }
        };
        let at = rows.start * hidden + head * head_dim;
        let task = Attend {
            q: Rows { at: q.as_ptr().wrapping_add(at), stride: hidden },
            tokens: Tokens { k: cached(k), v: cached(v), pages: Some((table_of(rows.start), page)) },
            seen: Seen::UpTo(&positions[rows.clone()]),
            queries: rows.len(),
            head_dim,
            scale,
            out: RowsMut { at: { out }.0.wrapping_add(at), stride: hidden },
        };
        // A run gets the bits that it would get alone.
        let alike = run_lengths[run_of[rows.start]];
        // SAFETY: every query sees tokens of pages in the cache only, `known_rows` has looked; `check` fixed the shapes
        // of q, cache and out; tasks write disjoint rows or columns.
        unsafe { task.run_on(isa, way, alike) };
    });
    Ok(())
}

/// Whether each row sees nothing but tokens of pages in the cache.
fn known_rows<'a>(positions: &[u32], table_of: impl Fn(usize) -> &'a [u32], shape: Shape) -> Vec<bool> {
    let known_pages = |row: usize| table_of(row).iter().take_while(|&&page| (page as usize) < shape.pages).count();
    positions.iter().enumerate().map(|(row, &position)| (position as usize / PAGE_TOKENS) < known_pages(row)).collect()
}

/// Blocks of at most `block` known rows of a run whose positions do not fall.
fn blocks_of(positions: &[u32], known: &[bool], run: Range<usize>, block: usize) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for row in run.filter(|&row| known[row]) {
        match blocks.last_mut() {
            Some(last) if last.end == row && last.len() < block && positions[row - 1] <= positions[row] => {
                last.end += 1
            }
            _ => blocks.push(row..row + 1),
        }
    }
    blocks
}
