//! The host's part of sampling: log-probabilities of tokens.

/// A row of logits as natural log-probabilities, before any temperature.
///
/// The log-softmax sums in f64, so each value is within one f32 rounding of the exact one. The logits are finite: the
/// choice of a token said so before.
pub struct LogProbs<'a> {
    logits: &'a [f32],
    log_sum: f64,
}

impl<'a> LogProbs<'a> {
    /// Of one row.
    pub fn of(logits: &'a [f32]) -> Self {
        let numbers = || logits.iter().map(|&x| f64::from(x));
        let max = numbers().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = numbers().map(|x| (x - max).exp()).sum();
        Self { logits, log_sum: max + sum.ln() }
    }

    /// Of one token; its id is in the vocabulary.
    pub fn token(&self, id: u32) -> f32 {
        self.at(self.logits[id as usize])
    }

    /// The `k` most likely ids, best first, of equal ones the lowest id first.
    pub fn top(&self, k: usize) -> Vec<(u32, f32)> {
        let mut ranked: Vec<(u32, f32)> = (0u32..).zip(self.logits.iter().copied()).collect();
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if k < ranked.len() && k > 0 {
            ranked.select_nth_unstable_by(k - 1, order);
        }
        ranked.truncate(k);
        ranked.sort_unstable_by(order);
        ranked.into_iter().map(|(id, x)| (id, self.at(x))).collect()
    }

    fn at(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn top_logprobs(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
        LogProbs::of(logits).top(k)
    }

    #[test]
    fn by_hand() {
        // Weights 1, 2, 4 and 1 of 8.
        let logits = [0.0, 2f32.ln(), 4f32.ln(), 0.0].map(|x| x + 100.0);
        let got = top_logprobs(&logits, 3);
        // An f32 near 100 is off by up to 2^-18, and the difference of two by twice that.
        let want = [(2, 0.5f32.ln()), (1, 0.25f32.ln()), (0, 0.125f32.ln())];
        for ((id, value), (want_id, want_value)) in got.iter().zip(want) {
            assert_eq!(*id, want_id);
            assert!((value - want_value).abs() <= 2f32.powi(-16), "{value} {want_value}");
        }
        assert_eq!(got.len(), 3);
        let one = LogProbs::of(&logits);
        assert!(got.iter().all(|&(id, value)| one.token(id).to_bits() == value.to_bits()), "one by one the same bits");
    }

    #[test]
    fn probabilities_sum_to_one_and_ties_go_to_the_lowest_id() {
        let logits: Vec<f32> =
            (0..32_064u32).map(|id| ((id.wrapping_mul(2_654_435_761) >> 20) as f32) / 256.0).collect();
        let all = top_logprobs(&logits, usize::MAX);
        assert_eq!(all.len(), logits.len());
        let sum: f64 = all.iter().map(|&(_, x)| f64::from(x).exp()).sum();
        // Each log-probability is rounded to f32: at magnitudes below 32 by at most 2^-20, relative in the probability.
        assert!((sum - 1.0).abs() <= 2f64.powi(-20), "{sum}");
        assert!(all.windows(2).all(|pair| pair[0].1 > pair[1].1 || (pair[0].1 == pair[1].1 && pair[0].0 < pair[1].0)));
        assert_eq!(top_logprobs(&logits, 20), all[..20]);
    }

    #[test]
    fn edges() {
        assert_eq!(top_logprobs(&[], 3), []);
        assert_eq!(top_logprobs(&[1.0, 2.0], 0), []);
        assert_eq!(top_logprobs(&[5.0], 3), [(0, 0.0)]);
    }
}
