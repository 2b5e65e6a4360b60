//! Sequences, heads and blocks of queries in parallel.
use super::AttentionFull;
use crate::Result;
use crate::cpu::Precision;
use crate::cpu::attend::{Attend, Seen, Tokens, block_queries};
use crate::cpu::fast::{self, Way};
use crate::cpu::lanes::{Isa, Rows, RowsMut};
use crate::cpu::product::Shared;
use rayon::prelude::*;

pub(crate) fn run(op: AttentionFull<'_>, precision: Precision) -> Result<()> {
    run_on(op, Isa::best(), fast::way(precision))
}

pub(crate) fn run_on(mut op: AttentionFull<'_>, isa: Isa, way: Option<Way>) -> Result<()> {
    let shape = op.check()?;
    let (q, q_stride) = op.q.host_strided::<f32>()?;
    let (k, k_stride) = op.k.host_strided::<f32>()?;
    let (v, v_stride) = op.v.host_strided::<f32>()?;
    let tokens = shape.tokens;
    let head_dim = shape.head_dim;
    let heads = op.heads;
    let hidden = heads * head_dim;
    let sequences = op.sequences;
    let scale = op.scale;
    let out = op.out.host::<f32>()?;
    if out.is_empty() {
        return Ok(());
    }
    let out = Shared(out.as_mut_ptr());
    let block = block_queries(tokens, sequences * heads);
    let blocks = tokens.div_ceil(block);
    (0..sequences * heads * blocks).into_par_iter().with_max_len(1).for_each(|task| {
        let sequence = task / blocks / heads;
        let head = task / blocks % heads;
        let first = task % blocks * block;
        let row = sequence * tokens;
        let column = head * head_dim;
        let rows = |values: &[f32], row: usize, stride: usize| Rows {
            at: values.as_ptr().wrapping_add(row * stride + column),
            stride,
        };
        let task = Attend {
            q: rows(q, row + first, q_stride),
            tokens: Tokens { k: rows(k, row, k_stride), v: rows(v, row, v_stride), pages: None },
            seen: Seen::All(tokens),
            queries: block.min(tokens - first),
            head_dim,
            scale,
            out: RowsMut { at: { out }.0.wrapping_add((row + first) * hidden + column), stride: hidden },
        };
        // SAFETY: `check` fixed the shapes of q, k, v and out, whose strides come from their views; tasks write
        // disjoint rows or columns.
        unsafe { task.run_on(isa, way, tokens) };
    });
    Ok(())
}
