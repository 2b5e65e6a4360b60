//! A decoding step, and the choice of tokens from what it leaves.
use crate::decoding::{Head, Row};
use crate::finite::check_id;
use crate::kv::Sequence;
use crate::model::Model;
use crate::running::{Chosen, Running};
use crate::{Error, Result};
use med2e3_kernels::ops::Sample;

impl Model {
    /// Makes room for one more token. The scheduler begins nothing that this could fail for.
    pub fn grow(&mut self, sequence: &mut Sequence) {
        let tokens = sequence.tokens() + 1;
        assert!(self.pages.grow(sequence, tokens), "admitted questions fit the cache");
    }

    /// Runs a step over rows that all read the same rotary table. With [`Head::Greedy`] gives each row's most likely
    /// token, else leaves each row's logits.
    pub fn step(&mut self, rows: &[Row<'_>], long: bool, head: Head) -> Result<Vec<u32>> {
        self.llm.step(&*self.device, rows, long, head)?;
        match head {
            Head::Greedy => self.llm.decoding.chosen(&*self.device),
            Head::Logits => Ok(Vec::new()),
        }
    }

    /// A row of logits.
    pub fn logits(&self, row: usize) -> Result<Vec<f32>> {
        Ok(self.device.read(self.llm.logits.view().rows(row..row + 1))?)
    }

    /// Gives an answer the most likely token, which a step chose.
    pub fn take(&self, id: u32, one: &mut Running) {
        match check_id(id, one.tokens() + 1) {
            Ok(id) => one.take(Chosen { id, ends: self.facts.ends_answer(id), logits: None }),
            Err(error) => one.fail(error),
        }
    }

    /// Chooses the next token of an answer from its row of logits.
    pub fn choose(&mut self, row: usize, one: &mut Running) -> Result<()> {
        let logits = self.llm.logits.view().rows(row..row + 1);
        let (sampling, step) = (one.question.request.sampling, one.tokens() as u64);
        self.device.sample(Sample { logits, sampling, step, out: self.llm.chosen.view_mut() })?;
        // Also where the request names the token: the choice says whether the logits are finite.
        let chosen = check_id(self.device.read_u32(self.llm.chosen.view())?[0], one.tokens() + 1)?;
        let logits = (one.question.request.logprobs > 0).then(|| self.logits(row)).transpose()?;
        let id = one.forced().unwrap_or(chosen);
        let ends = one.forced().is_none() && self.facts.ends_answer(id);
        one.take(Chosen { id, ends, logits: logits.as_deref() });
        Ok(())
    }

    /// Whether the device does nothing more after this error.
    pub fn is_fatal(error: &Error) -> bool {
        matches!(error, Error::Failed(_) | Error::Device(med2e3_kernels::Error::Launch { .. }))
    }
}
