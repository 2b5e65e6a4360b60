//! Attention of one or two queries: keys and values are read once, in order, and not packed.
use super::attend::Attend;
use super::lanes::{Job, Lanes};
use super::math;
use super::scratch::{self, Kind};

/// Vectors of the output that are summed at once.
const COLUMNS: usize = 4;

/// As [`Attend`], query by query.
pub(crate) struct AttendFew<'a>(pub Attend<'a>);

impl Job for AttendFew<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for query in 0..self.0.queries {
            let seen = self.0.seen.by(query);
            let whole = seen.next_multiple_of(L::WIDTH);
            let mut scores = scratch::take(Kind::Scores, whole);
            let scores = &mut scores[..whole];
            scores[seen..].fill(f32::NEG_INFINITY);
            // SAFETY: the caller's promise.
            unsafe {
                self.score::<L>(query, &mut scores[..seen]);
                let scale = 1.0 / weigh::<L>(scores);
                self.combine::<L>(query, &scores[..seen], scale);
            }
        }
    }
}

impl AttendFew<'_> {
    /// # Safety
    /// As [`Lanes`]; the tokens exist.
    #[inline(always)]
    unsafe fn score<L: Lanes>(&self, query: usize, scores: &mut [f32]) {
        let task = &self.0;
        let head_dim = self.0.head_dim;
        let q = task.q.at.wrapping_add(query * task.q.stride);
        let whole = head_dim / L::WIDTH * L::WIDTH;
        for (token, score) in scores.iter_mut().enumerate() {
            let k = task.tokens.at(token).0;
            // SAFETY: query and key have `head_dim` values.
            unsafe {
                let mut sum = L::splat(0.0);
                for i in (0..whole).step_by(L::WIDTH) {
                    sum = L::fma(L::load(q.add(i)), L::load(k.add(i)), sum);
                }
                let mut rest = 0.0;
                for i in whole..head_dim {
                    rest += *q.add(i) * *k.add(i);
                }
                *score = (math::sum::<L>(sum) + rest) * task.scale;
            }
        }
    }

    /// # Safety
    /// As [`Lanes`]; the tokens exist, the task owns its output.
    #[inline(always)]
    unsafe fn combine<L: Lanes>(&self, query: usize, weights: &[f32], scale: f32) {
        let task = &self.0;
        let out = task.out.at.wrapping_add(query * task.out.stride);
        let whole = task.head_dim / L::WIDTH * L::WIDTH;
        for column in (0..whole).step_by(COLUMNS * L::WIDTH) {
            let vectors = COLUMNS.min((whole - column) / L::WIDTH);
            // SAFETY: values and output have `head_dim` values.
            unsafe {
                let mut sums = [L::splat(0.0); COLUMNS];
                for (token, &weight) in weights.iter().enumerate() {
                    let v = task.tokens.at(token).1.add(column);
                    for (i, sum) in sums.iter_mut().enumerate().take(vectors) {
                        *sum = L::fma(L::splat(weight), L::load(v.add(i * L::WIDTH)), *sum);
                    }
                }
                for (i, sum) in sums.into_iter().enumerate().take(vectors) {
                    L::store(out.add(column + i * L::WIDTH), L::mul(sum, L::splat(scale)));
                }
            }
        }
        for column in whole..task.head_dim {
            let mut sum = 0.0;
            for (token, &weight) in weights.iter().enumerate() {
                // SAFETY: as above.
                sum += weight * unsafe { *task.tokens.at(token).1.add(column) };
            }
            // SAFETY: as above.
            unsafe { *out.add(column) = sum * scale };
        }
    }
}

/// Turns scores, padded to whole vectors with -∞, into weights; gives their sum.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
unsafe fn weigh<L: Lanes>(scores: &mut [f32]) -> f32 {
    // SAFETY: `scores` holds whole vectors.
    unsafe {
        let mut highest = L::splat(f32::NEG_INFINITY);
        for scores in scores.chunks_exact(L::WIDTH) {
            highest = L::max(highest, L::load(scores.as_ptr()));
        }
        let highest = L::splat(math::max::<L>(highest));
        let mut total = L::splat(0.0);
        for scores in scores.chunks_exact_mut(L::WIDTH) {
            let weight = math::exp::<L>(L::sub(L::load(scores.as_ptr()), highest));
            L::store(scores.as_mut_ptr(), weight);
            total = L::add(total, weight);
        }
        math::sum::<L>(total)
    }
}
