//! A decoding step, and the choice of tokens from what it leaves.
use crate::decoding::{Head, Picks, RANKS, Row};
use crate::finite::check_id;
use crate::kv::Sequence;
use crate::model::Model;
use crate::running::{Chosen, Running};
use crate::sampling::LogProbs;
use crate::{Error, Result};
use med2e3_kernels::ops::Choice;

impl Model {
    /// Makes room for one more token. The scheduler begins nothing that this could fail for.
    pub fn grow(&mut self, sequence: &mut Sequence) {
        let tokens = sequence.tokens() + 1;
        assert!(self.pages.grow(sequence, tokens), "admitted questions fit the cache");
    }

    /// Runs a step over rows that all read the same rotary table; gives what it chose.
    pub fn step(&mut self, rows: &[Row<'_>], choices: &[Choice], long: bool, head: Head) -> Result<Picks> {
        self.llm.step(&*self.device, rows, choices, long, head)
    }

    /// Chooses the first tokens of prompts that a pass took to their ends, in its order.
    pub fn choose_first(&mut self, choices: &[Choice], head: Head) -> Result<Picks> {
        self.llm.choose_first(&*self.device, choices, head)
    }

    /// The log-probability of each of `ids` as the first token behind the prompt of a row; the row is finite.
    pub fn judge_first(&mut self, row: usize, ids: &[u32]) -> Result<Vec<f32>> {
        self.llm.judge(&*self.device, row, ids)
    }

    /// Gives an answer the token of its row.
    ///
    /// # Errors
    /// [`Error::NonFinite`], and [`Error::Device`] if a row of logits cannot be read.
    pub fn take(&self, row: usize, picks: &Picks, one: &mut Running) -> Result<()> {
        let id = check_id(picks.id(row), one.tokens() + 1)?;
        let ends = one.forced().is_none() && self.facts.ends_answer(id);
        let (logprob, top) = match one.question.request.logprobs {
            0 => (None, Vec::new()),
            count @ 1..=RANKS => {
                let top = if ends { Vec::new() } else { picks.top(row, count) };
                (Some(picks.log_prob(row)), top)
            }
            count => {
                let logits = self.device.read(self.llm.logits.view().rows(row..row + 1))?;
                let logprobs = LogProbs::of(&logits);
                (Some(logprobs.token(id)), logprobs.top(count))
            }
        };
        one.take(Chosen { id, ends, logprob, top });
        Ok(())
    }

    /// Whether the device does nothing more after this error.
    pub fn is_fatal(error: &Error) -> bool {
        matches!(error, Error::Failed(_) | Error::Device(med2e3_kernels::Error::Launch { .. }))
    }
}
