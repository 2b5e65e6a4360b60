//! An answer in the making.
use crate::sampling::top_logprobs;
use crate::trace::Trace;
use crate::{Answer, AskTimings, FinishReason, Request, Result, TokenEvent};
use loaders::tokenizer::{DecodeStream, LlmTokenizer};
use std::ops::ControlFlow;
use std::time::Instant;

/// A question whose sequence is in the cache.
pub(crate) struct Running<'a> {
    pub request: &'a Request,
    /// Its place among the questions.
    pub index: usize,
    /// Its sequence.
    pub slot: usize,
    /// Which rotary table it reads.
    pub long: bool,
    /// The most tokens that it may get.
    pub new_tokens: usize,
    pub ended: bool,
    pub token_ids: Vec<u32>,
    pub slice_scores: Option<Vec<f32>>,
    pub prompt_tokens: usize,
    pub prompt_ids: Vec<i64>,
    pub timings: AskTimings,
    pub trace: Option<Trace>,
    started: Instant,
    stream: DecodeStream<'a>,
    top_logprobs: Vec<Vec<(u32, f32)>>,
    finish_reason: FinishReason,
}

impl<'a> Running<'a> {
    /// Nothing has run yet.
    pub fn new(request: &'a Request, tokenizer: &'a LlmTokenizer, [index, slot]: [usize; 2]) -> Self {
        Self {
            request,
            index,
            slot,
            long: false,
            new_tokens: 0,
            ended: false,
            token_ids: Vec::new(),
            slice_scores: None,
            prompt_tokens: 0,
            prompt_ids: Vec::new(),
            timings: AskTimings::default(),
            trace: None,
            started: Instant::now(),
            stream: DecodeStream::new(tokenizer, true),
            top_logprobs: Vec::new(),
            finish_reason: FinishReason::Length,
        }
    }

    /// Milliseconds since it was begun.
    pub fn elapsed_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
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
    pub fn last_id(&self) -> u32 {
        *self.token_ids.last().expect("a running answer has its first token")
    }

    fn note_first_token(&mut self) {
        if self.timings.first_token_ms == 0.0 {
            self.timings.first_token_ms = self.elapsed_ms();
        }
    }

    /// Takes one more token, or the end of the answer in its place.
    pub fn take(
        &mut self,
        id: u32,
        ends: bool,
        logits: Option<&[f32]>,
        on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.note_first_token();
        if ends {
            self.finish_reason = FinishReason::Stop;
            return self.close(on_token);
        }
        if let Some(logits) = logits {
            self.top_logprobs.push(top_logprobs(logits, self.request.logprobs));
        }
        self.token_ids.push(id);
        let text = self.stream.push(id)?.unwrap_or_default();
        if on_token(self.index, TokenEvent { id: Some(id), text: &text }).is_break() {
            self.finish_reason = FinishReason::Cancelled;
            return self.close(on_token);
        }
        if self.token_ids.len() == self.new_tokens { self.close(on_token) } else { Ok(()) }
    }

    /// Sends the text that was held back.
    pub fn close(&mut self, on_token: &mut dyn FnMut(usize, TokenEvent<'_>) -> ControlFlow<()>) -> Result<()> {
        self.ended = true;
        self.note_first_token();
        self.timings.decode_ms = self.elapsed_ms() - self.timings.first_token_ms;
        if let Some(text) = self.stream.flush()? {
            // Nothing follows, so there is nothing left to break off.
            let _ = on_token(self.index, TokenEvent { id: None, text: &text });
        }
        Ok(())
    }

    /// The answer.
    pub fn finish(self, tokenizer: &LlmTokenizer) -> Result<Answer> {
        Ok(Answer {
            text: tokenizer.decode(&self.token_ids, true)?,
            token_ids: self.token_ids,
            finish_reason: self.finish_reason,
            slice_scores: self.slice_scores,
            prompt_tokens: self.prompt_tokens,
            prompt_ids: self.prompt_ids,
            top_logprobs: self.top_logprobs,
            timings: self.timings,
            trace: self.trace,
        })
    }
}
