//! Sorts the candidates, then walks their cumulative probabilities; rows in parallel.
use super::{Choice, Sample, philox};
use crate::{NON_FINITE, Result};
use rayon::prelude::*;
use std::cell::RefCell;

/// A thread's room for the candidates of a draw, ids with logits and weights, so that a token allocates nothing.
#[derive(Default)]
struct Room {
    candidates: Vec<(u32, f32)>,
    weights: Vec<f64>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

pub(crate) fn run(mut op: Sample<'_>) -> Result<()> {
    let [_, vocab] = op.check()?;
    let rows = op.logits.host::<f32>()?.par_chunks_exact(vocab);
    let choices = op.choices.host::<u32>()?.par_chunks_exact(Choice::WORDS).map(Choice::of_words);
    let out = op.out.host::<u32>()?.par_iter_mut();
    rows.zip(choices).zip(out).for_each(|((logits, choice), out)| *out = choose(logits, choice));
    Ok(())
}

fn choose(logits: &[f32], choice: Choice) -> u32 {
    let best = argmax(logits);
    if best == NON_FINITE || choice.sampling.fault().is_some() {
        return NON_FINITE;
    }
    match choice.given {
        Some(id) => id,
        None if choice.sampling.temperature == 0.0 => best,
        None => ROOM.with_borrow_mut(|room| draw(logits, choice, room)),
    }
}

/// The largest logit, the lowest id among equals; [`NON_FINITE`] where one is NaN or infinite.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    let mut finite = true;
    for (id, &logit) in logits.iter().enumerate() {
        finite &= logit.is_finite();
        if logit > best.1 {
            best = (id, logit);
        }
    }
    if finite { best.0 as u32 } else { NON_FINITE }
}

/// Draws from finite logits.
fn draw(logits: &[f32], Choice { sampling, step, .. }: Choice, room: &mut Room) -> u32 {
    let Room { candidates, weights } = room;
    candidates.clear();
    candidates.extend((0u32..).zip(logits.iter().copied()));
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        candidates.truncate(sampling.top_k as usize);
    }
    let highest = candidates[0].1;
    let weight = |logit: f32| (f64::from(logit - highest) / f64::from(sampling.temperature)).exp();
    weights.clear();
    weights.extend(candidates.iter().map(|&(_, logit)| weight(logit)));
    let total: f64 = weights.iter().sum();
    let mut kept = 0;
    let mut mass = 0.0;
    while kept < weights.len() && (kept == 0 || mass < f64::from(sampling.top_p) * total) {
        mass += weights[kept];
        kept += 1;
    }
    let mut left = f64::from(philox::uniform(sampling.seed, step)) * mass;
    for (&(id, _), weight) in candidates.iter().zip(&weights[..kept]) {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    candidates[kept - 1].0
}
