//! What may begin: questions and options for which there are a row of a step and pages to the end.
use super::queue::Admission;
use super::{Active, Scheduler};
use crate::kv::Sequence;
use crate::prefill::Pass;
use crate::running::{Question, Running};
use crate::scoring::OptionRun;
use med2e3_kernels::{DECODE_ROWS_MAX, PAGE_TOKENS};
use std::sync::Arc;

impl Scheduler {
    /// Pages that what has begun may still take.
    fn promised(&self) -> usize {
        let active = self.active.iter().map(Active::promised);
        // Of options that wait, one at a time must be able to run.
        let scored = self.scored.iter().filter(|scored| scored.running == 0 && !scored.waiting.is_empty());
        let beginning = self.pass.prompts.iter();
        let beginning = beginning.map(|prompt| prompt.lacks() + Self::option_needs(&prompt.running.question));
        active.chain(scored.map(|scored| Self::option_needs(&scored.prompt.question))).chain(beginning).sum()
    }

    /// Pages that a question takes that has not begun.
    fn needs(question: &Question) -> usize {
        let checked = &question.checked;
        let own = Sequence::new(checked.long).lacks(checked.rows + checked.new_tokens);
        own + Self::option_needs(question)
    }

    /// Pages that one of a question's options may take besides those of its prompt: a copy of the last one, and more.
    fn option_needs(question: &Question) -> usize {
        let Some(scored) = &question.scored else { return 0 };
        let rows = question.checked.rows;
        let whole = Sequence::new(false).lacks(rows + scored.longest());
        whole - rows / PAGE_TOKENS
    }

    /// Lets waiting options, and then questions, begin if there is room.
    pub(super) fn begin_next(&mut self) {
        self.begin_options();
        self.end_scored();
        if self.pass.prompts.is_empty() {
            self.pass = Pass::default();
        }
        while self.active.len() + self.scored.len() + self.pass.prompts.len() < self.batch && self.begin_one() {}
    }

    /// Lets the next question begin; false if none can.
    fn begin_one(&mut self) -> bool {
        let room = self.model.pages.available().saturating_sub(self.promised());
        let next = self.inbox.next_question(|question| match question.readiness() {
            None => Admission::LetsPass,
            // A question about a volume that failed begins in order to say so.
            Some(Err(_)) => Admission::Begins,
            Some(Ok(())) if Self::needs(question) > room => Admission::Blocks,
            Some(Ok(())) if self.model.can_join(&self.pass, question) => Admission::Begins,
            Some(Ok(())) => Admission::Blocks,
        });
        let Some(question) = next else { return false };
        if let Some(Err(error)) = question.readiness() {
            question.end(Err(error));
            return true;
        }
        self.streams.retain(|stream| stream.strong_count() > 0);
        self.streams.push(Arc::downgrade(&question.stream));
        let running = Running::new(question, self.model.facts.tokenizer.clone());
        match self.model.join(&mut self.pass, running) {
            Some(true) => self.stats.prefix_hits += 1,
            Some(false) => self.stats.prefix_misses += 1,
            None => {}
        }
        true
    }

    /// Gives waiting options their sequences.
    fn begin_options(&mut self) {
        for at in 0..self.scored.len() {
            while let Some(&option) = self.scored[at].waiting.last() {
                let reserved =
                    if self.scored[at].running == 0 { Self::option_needs(&self.scored[at].prompt.question) } else { 0 };
                let room = (self.model.pages.available() + reserved).saturating_sub(self.promised());
                let needs = Self::option_needs(&self.scored[at].prompt.question);
                // The first of a question's options has its row in the question's place.
                let rows = self.active.len() + usize::from(self.scored[at].running > 0);
                if needs > room || (rows >= self.batch.max(DECODE_ROWS_MAX)) {
                    break;
                }
                let scored = &mut self.scored[at];
                match self.model.fork(&scored.prompt.sequence) {
                    Ok(sequence) => {
                        scored.waiting.pop();
                        scored.running += 1;
                        let owner = scored.prompt.sequence.id();
                        let run = OptionRun { owner, scored: scored.scored.clone(), option, sequence, done: 0 };
                        self.active.push_back(Active::Option(Box::new(run)));
                    }
                    Err(error) => {
                        scored.prompt.fail(error);
                        scored.waiting.clear();
                    }
                }
            }
        }
    }
}
