//! An answer in the making.
use crate::checked::Checked;
use crate::decoding::Row;
use crate::kv::Sequence;
use crate::sampling::LogProbs;
use crate::trace::Trace;
use crate::{Answer, AskTimings, Error, FinishReason, Request, Result, TokenEvent};
use med2e3_loaders::tokenizer::{DecodeStream, LlmTokenizer};
use std::ops::ControlFlow;
use std::time::Instant;

/// Who sees each token, with its question's place among the questions, and may break off.
pub(crate) type OnToken<'a> = &'a mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>;

/// What a step chose for one answer.
pub(crate) struct Chosen<'a> {
    pub id: u32,
    /// Whether it is the answer's end instead of a token of it.
    pub ends: bool,
    /// The row that it was chosen from, where the request ranks tokens.
    pub logits: Option<&'a [f32]>,
}

/// A question whose sequence is in the cache.
pub(crate) struct Running<'a> {
    pub request: &'a Request,
    /// Its place among the questions.
    pub index: usize,
    /// Its tokens in the cache.
    pub sequence: Sequence,
    /// The most tokens that prompt and answer may take.
    pub tokens_max: usize,
    /// The most tokens that it may get.
    pub new_tokens: usize,
    pub ended: bool,
    pub token_ids: Vec<u32>,
    pub slice_scores: Option<Vec<f32>>,
    pub timings: AskTimings,
    pub trace: Option<Trace>,
    prompt_tokens: usize,
    prompt_ids: Vec<i64>,
    called: Instant,
    stream: DecodeStream<'a>,
    delivered: String,
    top_logprobs: Vec<Vec<(u32, f32)>>,
    logprobs: Vec<f32>,
    end_logprob: Option<f32>,
    finish_reason: FinishReason,
    failure: Option<Error>,
}

impl<'a> Running<'a> {
    /// Nothing has run yet; `called` is when the caller asked.
    pub fn new(
        request: &'a Request,
        checked: &Checked,
        tokenizer: &'a LlmTokenizer,
        index: usize,
        called: Instant,
    ) -> Self {
        let mut new = Self {
            request,
            index,
            sequence: Sequence::new(checked.long),
            tokens_max: checked.rows + checked.new_tokens,
            new_tokens: checked.new_tokens,
            ended: false,
            token_ids: Vec::new(),
            slice_scores: None,
            timings: AskTimings::default(),
            trace: None,
            prompt_tokens: checked.rows,
            prompt_ids: checked.prompt.ids_with_image(),
            called,
            stream: DecodeStream::new(tokenizer, true),
            delivered: String::new(),
            top_logprobs: Vec::new(),
            logprobs: Vec::new(),
            end_logprob: None,
            finish_reason: FinishReason::Length,
            failure: None,
        };
        new.timings.queued_ms = new.elapsed_ms();
        new
    }

    /// Milliseconds since the caller asked.
    fn elapsed_ms(&self) -> f64 {
        self.called.elapsed().as_secs_f64() * 1e3
    }

    /// Whether only the most likely token matters.
    pub fn is_greedy(&self) -> bool {
        self.request.sampling.temperature == 0.0 && self.request.logprobs == 0 && self.request.forced.is_none()
    }

    /// The next token where the request names it.
    pub fn forced(&self) -> Option<u32> {
        self.request.forced.as_ref().map(|ids| ids[self.token_ids.len()])
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
        self.timings.tgis_ms = self.elapsed_ms() - self.timings.queued_ms;
    }

    /// Notes, once, that the first token is there.
    fn note_first_token(&mut self) {
        if self.timings.first_token_ms == 0.0 {
            self.timings.first_token_ms = self.elapsed_ms();
            self.timings.prefill_ms = self.timings.first_token_ms - self.timings.queued_ms - self.timings.tgis_ms;
        }
    }

    /// Ends it with an error, unless it has ended before.
    pub fn fail(&mut self, error: Error) {
        if !self.ended {
            self.ended = true;
            self.failure = Some(error);
        }
    }

    /// Takes one more token, or the end of the answer in its place.
    pub fn take(&mut self, chosen: Chosen<'_>, on_token: OnToken<'_>) {
        self.note_first_token();
        let logprobs = chosen.logits.map(LogProbs::of);
        if chosen.ends {
            self.end_logprob = logprobs.map(|logprobs| logprobs.token(chosen.id));
            self.finish_reason = FinishReason::Stop;
            return self.close(on_token);
        }
        if let Some(logprobs) = logprobs {
            self.logprobs.push(logprobs.token(chosen.id));
            self.top_logprobs.push(logprobs.top(self.request.logprobs));
        }
        self.token_ids.push(chosen.id);
        match self.stream.push(chosen.id) {
            Ok(text) => self.deliver(Some(chosen.id), &text.unwrap_or_default(), on_token),
            Err(error) => self.fail(error.into()),
        }
        if !self.ended && self.token_ids.len() == self.new_tokens {
            self.close(on_token);
        }
    }

    /// Hands text on. A caller that breaks off hears nothing more, and text that was held back is dropped.
    fn deliver(&mut self, id: Option<u32>, text: &str, on_token: OnToken<'_>) {
        self.delivered.push_str(text);
        if on_token(self.index, TokenEvent { id, text }).is_break() && id.is_some() {
            self.finish_reason = FinishReason::Cancelled;
            self.ended = true;
        }
    }

    /// Ends it and hands on the text that was held back.
    pub fn close(&mut self, on_token: OnToken<'_>) {
        self.note_first_token();
        match self.stream.flush() {
            // Nothing follows this text, so there is nothing left to break off.
            Ok(Some(text)) => self.deliver(None, &text, on_token),
            Ok(None) => {}
            Err(error) => self.fail(error.into()),
        }
        self.ended = true;
    }

    /// The answer, or why there is none.
    pub fn finish(self, tokenizer: &LlmTokenizer) -> Result<Answer> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let text = match self.finish_reason {
            FinishReason::Cancelled => self.delivered,
            FinishReason::Stop | FinishReason::Length => tokenizer.decode(&self.token_ids, true)?,
        };
        Ok(Answer {
            text,
            token_ids: self.token_ids,
            finish_reason: self.finish_reason,
            slice_scores: self.slice_scores,
            prompt_tokens: self.prompt_tokens,
            prompt_ids: self.prompt_ids,
            top_logprobs: self.top_logprobs,
            logprobs: self.logprobs,
            end_logprob: self.end_logprob,
            timings: self.timings,
            trace: self.trace,
        })
    }
}
