//! Log-probabilities of given answers, which go through the model over the pages of one prompt.
use crate::Result;
use crate::decoding::Row;
use crate::finite::check_id;
use crate::kv::Sequence;
use crate::request::Timings;
use crate::running::Running;
use med2e3_kernels::ops::{Choice, Sampling};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What the model thinks of one option as the answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OptionScore {
    /// Its tokens, the one that ends an answer last.
    pub token_ids: Vec<u32>,
    /// The natural log-probability of each token behind those before it, before any temperature.
    pub logprobs: Vec<f32>,
    /// Their sum: the log-probability of the option as the whole answer.
    pub sum: f64,
    /// Their mean, which does not favour short options.
    pub mean: f64,
}

/// What the model thinks of each option.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scoring {
    /// As the options were given.
    pub options: Vec<OptionScore>,
    /// The option with the largest mean; of equal ones the first.
    pub best: usize,
    /// How much each slice counted; `None` where slices are not weighed.
    pub slice_scores: Option<Vec<f32>>,
    /// Rows of the prompt, image rows included.
    pub prompt_tokens: usize,
    /// How many of them an earlier question had left in the cache.
    pub cached_tokens: usize,
    /// The prompt's ids; -201 stands for the image rows.
    pub prompt_ids: Vec<i64>,
    /// How long each stage took; `first_token_ms` goes to the first tokens of all options.
    pub timings: Timings,
}

/// The options of one question, and what is known of them.
pub(crate) struct Scored {
    /// The tokens of each.
    pub options: Vec<Vec<u32>>,
    logprobs: Mutex<Vec<Vec<f32>>>,
    /// Options that lack a log-probability.
    left: AtomicUsize,
}

impl Scored {
    /// Nothing is known; no option is empty.
    pub fn new(options: Vec<Vec<u32>>) -> Self {
        let logprobs = Mutex::new(options.iter().map(|option| Vec::with_capacity(option.len())).collect());
        Self { left: AtomicUsize::new(options.len()), options, logprobs }
    }

    /// The most tokens of an option.
    pub fn longest(&self) -> usize {
        self.options.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Notes the next token's log-probability of an option.
    fn note(&self, option: usize, logprob: f32) {
        let known = &mut self.logprobs.lock().unwrap_or_else(PoisonError::into_inner)[option];
        known.push(logprob);
        if known.len() == self.options[option].len() {
            self.left.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether every log-probability is known.
    pub fn is_complete(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// The scores, once all are known.
    pub fn scores(&self) -> Vec<OptionScore> {
        let logprobs = self.logprobs.lock().unwrap_or_else(PoisonError::into_inner);
        let score = |(token_ids, logprobs): (&Vec<u32>, &Vec<f32>)| {
            let sum = logprobs.iter().map(|&logprob| f64::from(logprob)).sum::<f64>();
            let mean = sum / logprobs.len() as f64;
            OptionScore { token_ids: token_ids.clone(), logprobs: logprobs.clone(), sum, mean }
        };
        self.options.iter().zip(&*logprobs).map(score).collect()
    }
}

/// The option with the largest mean, of equal ones the first.
pub(crate) fn best(options: &[OptionScore]) -> usize {
    let better = |best: usize, at: usize| if options[at].mean > options[best].mean { at } else { best };
    (0..options.len()).fold(0, better)
}

/// A question whose prompt was read and whose options are being scored.
pub(crate) struct ScoredPrompt {
    /// The question and its prompt's sequence.
    pub prompt: Running,
    pub scored: Arc<Scored>,
    /// Options that have no sequence yet and need one.
    pub waiting: Vec<usize>,
    /// Options that have one.
    pub running: usize,
}

impl ScoredPrompt {
    /// With the log-probability of every option's first token.
    pub fn new(prompt: Running, scored: Arc<Scored>, first: &[f32]) -> Self {
        first.iter().enumerate().for_each(|(option, &logprob)| scored.note(option, logprob));
        let waiting = (0..scored.options.len()).rev().filter(|&option| scored.options[option].len() > 1).collect();
        Self { prompt, scored, waiting, running: 0 }
    }
}

/// An option whose tokens go through the model.
pub(crate) struct OptionRun {
    /// What tells its question from others.
    pub owner: u64,
    pub scored: Arc<Scored>,
    pub option: usize,
    pub sequence: Sequence,
    /// Tokens that have gone through.
    pub done: usize,
}

impl OptionRun {
    /// What the next step reads.
    pub fn row(&self) -> Row<'_> {
        Row {
            sequence: self.sequence.id(),
            position: self.sequence.tokens(),
            pages: self.sequence.pages(),
            id: self.scored.options[self.option][self.done],
        }
    }

    /// The token behind the one that goes through: its log-probability is wanted.
    pub fn choice(&self) -> Choice {
        let given = self.scored.options[self.option][self.done + 1];
        Choice { sampling: Sampling::GREEDY, step: 0, given: Some(given) }
    }

    /// Takes the token that its row has given back, with its log-probability.
    pub fn take(&mut self, id: u32, logprob: f32) -> Result<()> {
        self.done += 1;
        check_id(id, self.done + 1)?;
        self.scored.note(self.option, logprob);
        Ok(())
    }

    /// Whether every log-probability of the option is known.
    pub fn is_over(&self) -> bool {
        self.done + 1 == self.scored.options[self.option].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_mean_wins_and_ties_go_to_the_first() {
        let scored = Scored::new(vec![vec![0, 1], vec![0], vec![0, 0, 0], vec![0]]);
        for option in [0, 1, 2, 3, 0, 2, 2] {
            assert!(!scored.is_complete());
            scored.note(option, 0.5f32.ln());
        }
        assert!(scored.is_complete());
        let scores = scored.scores();
        let half = f64::from(0.5f32.ln());
        assert_eq!(scores.iter().map(|score| score.sum).collect::<Vec<_>>(), [2.0 * half, half, 3.0 * half, half]);
        assert!(scores.iter().all(|score| score.mean == half));
        assert_eq!(best(&scores), 0);
        let mut scores = scores;
        scores[2].mean = -0.1;
        scores[3].mean = -0.1;
        assert_eq!(best(&scores), 2);
    }
}
