//! A question whose sequence is in the cache.
use crate::answering::{Event, Stream};
use crate::decoding::Row;
use crate::encoded::{Place, VolumeInner};
use crate::facts::Checked;
use crate::kv::Sequence;
use crate::request::Timings;
use crate::scoring::Scored;
use crate::stop::StopTexts;
use crate::trace::Trace;
use crate::{Error, FinishReason, Request, Result};
use med2e3_kernels::ops::Choice;
use med2e3_loaders::tokenizer::{DecodeStream, LlmTokenizer};
use std::sync::Arc;
use std::time::Instant;

/// What a step chose for one answer.
pub(crate) struct Chosen {
    pub id: u32,
    /// Whether it is the answer's end instead of a token of it.
    pub ends: bool,
    /// Its log-probability, where the request ranks tokens.
    pub logprob: Option<f32>,
    /// The most likely tokens, as many as the request ranks.
    pub top: Vec<(u32, f32)>,
}

/// A question that can be answered, as it waits and runs.
pub(crate) struct Question {
    /// Keeps the volume in its place until the question ends.
    pub volume: Option<Arc<VolumeInner>>,
    /// Where the volume is.
    pub place: Place,
    pub request: Request,
    pub checked: Checked,
    pub stream: Arc<Stream>,
    /// When the caller asked.
    pub called: Instant,
    /// The options to score in place of an answer.
    pub scored: Option<Arc<Scored>>,
}

impl Question {
    /// Milliseconds since the caller asked.
    pub fn elapsed_ms(&self) -> f64 {
        self.called.elapsed().as_secs_f64() * 1e3
    }

    /// Whether its volume is encoded, as far as that is known.
    pub fn readiness(&self) -> Option<Result<()>> {
        self.volume.as_ref().map_or(Some(Ok(())), |volume| volume.state.readiness())
    }

    /// Says that nothing follows, or why. Who hears that may count on the volume's place.
    pub fn end(mut self, result: Result<()>) {
        self.let_go(result);
    }

    fn let_go(&mut self, result: Result<()>) {
        self.volume = None;
        self.stream.end(result);
    }

    /// Why it should go no further, if so: its reader has left, or its time is over.
    pub fn expired(&self, now: Instant) -> Option<Result<()>> {
        if self.stream.is_cancelled() {
            return Some(Ok(()));
        }
        self.request.deadline.is_some_and(|deadline| deadline <= now).then_some(Err(Error::Deadline))
    }
}

/// An answer in the making.
pub(crate) struct Running {
    pub question: Question,
    /// Its tokens in the cache.
    pub sequence: Sequence,
    pub timings: Timings,
    pub slice_scores: Option<Arc<[f32]>>,
    pub trace: Option<Trace>,
    pub ended: bool,
    token_ids: Vec<u32>,
    text: DecodeStream<Arc<LlmTokenizer>>,
    stop: StopTexts,
}

impl Running {
    /// Nothing has run yet.
    pub fn new(question: Question, tokenizer: Arc<LlmTokenizer>) -> Self {
        let timings = Timings { queued_ms: question.elapsed_ms(), ..Timings::default() };
        Self {
            sequence: Sequence::new(question.checked.long),
            timings,
            slice_scores: None,
            trace: None,
            ended: false,
            token_ids: Vec::new(),
            text: DecodeStream::new(tokenizer, true),
            stop: StopTexts::new(question.request.stop.clone()),
            question,
        }
    }

    /// The most tokens that prompt and answer may take.
    pub fn tokens_max(&self) -> usize {
        self.question.checked.rows + self.question.checked.new_tokens
    }

    /// Whether only the most likely token matters.
    pub fn is_greedy(&self) -> bool {
        let request = &self.question.request;
        request.sampling.temperature == 0.0 && request.logprobs == 0 && request.forced.is_none()
    }

    /// The next token where the request names it.
    pub fn forced(&self) -> Option<u32> {
        self.question.request.forced.as_ref()?.get(self.token_ids.len()).copied()
    }

    /// How the next token is chosen.
    pub fn choice(&self) -> Choice {
        Choice { sampling: self.question.request.sampling, step: self.token_ids.len() as u64, given: self.forced() }
    }

    /// Tokens of the answer so far.
    pub fn tokens(&self) -> usize {
        self.token_ids.len()
    }

    /// What the next step reads.
    pub fn row(&self) -> Row<'_> {
        Row {
            sequence: self.sequence.id(),
            position: self.sequence.tokens(),
            pages: self.sequence.pages(),
            id: *self.token_ids.last().expect("a running answer has its first token"),
        }
    }

    /// Notes that the slices are weighed.
    pub fn note_guided(&mut self) {
        self.timings.tgis_ms = self.question.elapsed_ms() - self.timings.queued_ms;
    }

    /// Notes, once, that the first token is there.
    pub fn note_first_token(&mut self) {
        if self.timings.first_token_ms == 0.0 {
            self.timings.first_token_ms = self.question.elapsed_ms();
            self.timings.prefill_ms = self.timings.first_token_ms - self.timings.queued_ms - self.timings.tgis_ms;
        }
    }

    /// Ends it with an error, unless it has ended before.
    pub fn fail(&mut self, error: Error) {
        if !self.ended {
            self.ended = true;
            self.question.let_go(Err(error));
        }
    }

    /// Takes one more token, or the end of the answer in its place.
    pub fn take(&mut self, chosen: Chosen) {
        let Chosen { id, ends, logprob, top } = chosen;
        self.note_first_token();
        if ends {
            return self.close(FinishReason::Stop, logprob);
        }
        self.token_ids.push(id);
        let text = match self.text.push(id) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => return self.fail(error.into()),
        };
        let (text, stopped) = self.stop.push(&text);
        self.question.stream.push(Event::Token { id, text, logprob, top });
        if stopped {
            self.end(FinishReason::Stop, None);
        } else if self.token_ids.len() == self.question.checked.new_tokens {
            self.close(FinishReason::Length, None);
        }
    }

    /// Ends it and hands on the text that was held back.
    pub fn close(&mut self, reason: FinishReason, end_logprob: Option<f32>) {
        self.note_first_token();
        let held = match self.text.flush() {
            Ok(held) => held.unwrap_or_default(),
            Err(error) => return self.fail(error.into()),
        };
        let (mut text, stopped) = self.stop.push(&held);
        if !stopped {
            text.push_str(&self.stop.flush());
        }
        if !text.is_empty() {
            self.question.stream.push(Event::Text(text));
        }
        self.end(if stopped { FinishReason::Stop } else { reason }, end_logprob);
    }

    /// Ends it, and drops text that was held back.
    pub fn end(&mut self, reason: FinishReason, end_logprob: Option<f32>) {
        self.ended = true;
        let timings = self.timings;
        let trace = self.trace.take().map(Box::new);
        self.question.stream.push(Event::Ended { reason, end_logprob, timings, trace });
        self.question.let_go(Ok(()));
    }
}
