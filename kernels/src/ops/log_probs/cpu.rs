//! One pass for the largest logit, one for the sum, and a selection; rows in parallel.
use super::LogProbs;
use crate::{NON_FINITE, Result};
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// A thread's room to rank tokens in, ids with logits, so that a token allocates nothing.
    static ROOM: RefCell<Vec<(u32, f32)>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn run(mut op: LogProbs<'_>) -> Result<()> {
    let shape = op.check()?;
    let logits = op.logits.host::<f32>()?;
    let ids = op.ids.host::<u32>()?;
    let top = op.top.host::<u32>()?;
    let out = op.out.host::<f32>()?;
    // Rows of no elements have no chunks.
    let widest = shape.count + shape.ranks;
    if widest == 0 {
        return Ok(());
    }
    let mut tops: Vec<&mut [u32]> = Vec::with_capacity(shape.rows);
    let mut rest = top;
    for _ in 0..shape.rows {
        let (row, behind) = rest.split_at_mut(shape.ranks);
        tops.push(row);
        rest = behind;
    }
    let rows = logits.par_chunks_exact(shape.vocab).zip(out.par_chunks_exact_mut(widest)).zip(tops);
    rows.enumerate().for_each(|(row, ((logits, out), top))| {
        let ids = &ids[row * shape.count..][..shape.count];
        log_probs(logits, ids, top, out);
    });
    Ok(())
}

fn log_probs(logits: &[f32], ids: &[u32], top: &mut [u32], out: &mut [f32]) {
    top.fill(NON_FINITE);
    out.fill(f32::NAN);
    if !logits.iter().all(|logit| logit.is_finite()) {
        return;
    }
    let numbers = || logits.iter().map(|&x| f64::from(x));
    let max = numbers().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = numbers().map(|x| (x - max).exp()).sum();
    let log_sum = max + sum.ln();
    let of = |logit: f32| (f64::from(logit) - log_sum) as f32;
    let (named, ranked) = out.split_at_mut(ids.len());
    for (&id, out) in ids.iter().zip(named) {
        *out = logits.get(id as usize).copied().map_or(f32::NAN, of);
    }
    ROOM.with_borrow_mut(|room| {
        rank(logits, top.len(), room);
        for ((&(id, logit), top), out) in room.iter().zip(top).zip(ranked) {
            *top = id;
            *out = of(logit);
        }
    });
}

/// Leaves the `ranks` most likely tokens in `room`, best first, of equal ones the lowest id.
fn rank(logits: &[f32], ranks: usize, room: &mut Vec<(u32, f32)>) {
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    room.clear();
    if ranks == 0 {
        return;
    }
    room.extend((0u32..).zip(logits.iter().copied()));
    if ranks < room.len() {
        room.select_nth_unstable_by(ranks - 1, order);
        room.truncate(ranks);
    }
    room.sort_unstable_by(order);
}
