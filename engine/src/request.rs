//! What is asked and what comes back.
use crate::Event;
use crate::prompt::Conversation;
use crate::trace::Trace;
use med2e3_kernels::ops::Sampling;
use std::time::Instant;

/// One question about a volume.
#[derive(Clone, Debug)]
pub struct Request {
    /// The turns; the last one has no answer yet.
    pub conversation: Conversation,
    /// Text that guides TG-IS; the last question where absent.
    pub guide: Option<String>,
    /// At most so many new tokens; the model's own limit where absent.
    pub max_new_tokens: Option<usize>,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// How many of the most likely tokens to report at each step; 0 for none, and for no log-probabilities at all.
    pub logprobs: usize,
    /// Texts before the first of which the answer ends; text that could begin one is held back. At most
    /// [`STOPS_MAX`] of 1 to [`STOP_BYTES_MAX`] bytes.
    pub stop: Vec<String>,
    /// When an answer is of no use any more: a question that has not ended by then ends with
    /// [`crate::Error::Deadline`].
    pub deadline: Option<Instant>,
    /// Whose question it is. Those that wait take turns by tenant, so that many questions of one hold no other up.
    pub tenant: u64,
    /// Whether to record every stage.
    pub trace: bool,
    /// Tokens to answer with in place of chosen ones: with `logprobs`, what the model thinks of a given answer. A token
    /// that would end an answer is one like the others here.
    pub forced: Option<Vec<u32>>,
}

/// The most texts that may stop an answer.
pub const STOPS_MAX: usize = 16;

/// The longest text that may stop an answer, in bytes.
pub const STOP_BYTES_MAX: usize = 256;

impl Request {
    /// A single question, answered greedily.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self {
            conversation: Conversation::single(prompt),
            guide: None,
            max_new_tokens: None,
            sampling: Sampling::GREEDY,
            logprobs: 0,
            stop: Vec::new(),
            deadline: None,
            tenant: 0,
            trace: false,
            forced: None,
        }
    }
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer, or a text came that stops it.
    Stop,
    /// The limit on tokens was reached.
    Length,
    /// The caller broke off.
    #[default]
    Cancelled,
}

impl FinishReason {
    /// In a word, as reports and result files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Milliseconds of each stage of one question, by the host's clock.
///
/// On a GPU work is counted where the host waits for it. That is at the end of each stage but where slices are not
/// scored (`tgis_ms` is a part of `prefill_ms` there) and where tokens are given and none is ranked: nothing is read
/// then, so the host does not wait at all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From the call to the beginning of this question: checking it, and waiting for a place.
    pub queued_ms: f64,
    /// BERT, scores and the weighted sum of slices.
    pub tgis_ms: f64,
    /// The prompt through the LLM, to the first token, or to the first logits where no token is wanted; with what the
    /// engine did for others between the parts of it.
    pub prefill_ms: f64,
    /// The steps of all later tokens. A step serves up to 16 questions, so its time is counted for each of them; what
    /// the engine does for others between two steps is not.
    pub decode_ms: f64,
    /// From the call to the first token: the sum of the first three.
    pub first_token_ms: f64,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text, special tokens left out. Of an answer that the caller broke off: what was delivered.
    pub text: String,
    /// The generated ids; the token that ended the answer is not among them. A text that stops an answer may lie within
    /// the last of them.
    pub token_ids: Vec<u32>,
    /// Why generation ended.
    pub finish_reason: FinishReason,
    /// How much each slice counted; `None` where slices are not weighed.
    pub slice_scores: Option<Vec<f32>>,
    /// Rows of the prompt, image rows included.
    pub prompt_tokens: usize,
    /// How many of them an earlier question had left in the cache.
    pub cached_tokens: usize,
    /// The prompt's ids; -201 stands for the image rows.
    pub prompt_ids: Vec<i64>,
    /// Per generated token the most likely ids and their log-probabilities, as `logprobs`, best first.
    pub top_logprobs: Vec<Vec<(u32, f32)>>,
    /// With `logprobs`, the natural log-probability of each generated or given token, before any temperature, top-k or
    /// top-p.
    pub logprobs: Vec<f32>,
    /// With `logprobs`, that of the token that ended the answer; `None` if a limit or the caller ended it.
    pub end_logprob: Option<f32>,
    /// How long each stage took.
    pub timings: Timings,
    /// Every stage, where the request asked for it.
    pub trace: Option<Trace>,
}

impl Answer {
    /// Nothing has been said yet.
    pub(crate) fn empty(prompt_ids: Vec<i64>) -> Self {
        Self {
            text: String::new(),
            token_ids: Vec::new(),
            finish_reason: FinishReason::Cancelled,
            slice_scores: None,
            prompt_tokens: 0,
            cached_tokens: 0,
            prompt_ids,
            top_logprobs: Vec::new(),
            logprobs: Vec::new(),
            end_logprob: None,
            timings: Timings::default(),
            trace: None,
        }
    }

    /// Takes in what has happened.
    pub(crate) fn add(&mut self, event: &Event) {
        match event {
            Event::Progress(_) => {}
            Event::Begun { slice_scores, prompt_tokens, cached_tokens, .. } => {
                self.slice_scores = slice_scores.as_deref().map(<[f32]>::to_vec);
                self.prompt_tokens = *prompt_tokens;
                self.cached_tokens = *cached_tokens;
            }
            Event::Token { id, text, logprob, top } => {
                self.token_ids.push(*id);
                self.text.push_str(text);
                if let Some(logprob) = logprob {
                    self.logprobs.push(*logprob);
                    self.top_logprobs.push(top.clone());
                }
            }
            Event::Text(text) => self.text.push_str(text),
            Event::Ended { reason, end_logprob, timings, trace } => {
                self.finish_reason = *reason;
                self.end_logprob = *end_logprob;
                self.timings = *timings;
                self.trace = trace.as_deref().cloned();
            }
        }
    }
}
