//! What is asked and what comes back.
use crate::prompt::Conversation;
use crate::trace::Trace;
use med2e3_kernels::ops::Sampling;

/// One question about an encoded volume.
#[derive(Clone, Debug)]
pub struct Request {
    /// The turns; the last one has no answer yet.
    pub conversation: Conversation,
    /// Text that guides TG-IS; the last question where absent.
    pub question: Option<String>,
    /// At most so many new tokens; the model's own limit where absent.
    pub max_new_tokens: Option<usize>,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// How many of the most likely tokens to report at each step; 0 for none, and for no log-probabilities at all.
    pub logprobs: usize,
    /// Whether to record every stage.
    pub trace: bool,
    /// Tokens to answer with in place of chosen ones: with `logprobs`, what the model thinks of a given answer. A token
    /// that would end an answer is one like the others here.
    pub forced: Option<Vec<u32>>,
}

impl Request {
    /// A single question, answered greedily.
    pub fn new(prompt: &str) -> Self {
        Self {
            conversation: Conversation::single(prompt),
            question: None,
            max_new_tokens: None,
            sampling: Sampling::GREEDY,
            logprobs: 0,
            trace: false,
            forced: None,
        }
    }
}

/// One generated token, as it is generated. After the caller has broken off, none follows.
#[derive(Clone, Copy, Debug)]
pub struct TokenEvent<'a> {
    /// Its id; `None` for text that was held back until the answer ended.
    pub id: Option<u32>,
    /// What it adds to the text; empty while a character is incomplete.
    pub text: &'a str,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its answer.
    Stop,
    /// The limit on tokens was reached.
    Length,
    /// The caller broke off.
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
pub struct AskTimings {
    /// From the call to the beginning of this question: checking all questions of the call, and waiting for a place.
    pub queued_ms: f64,
    /// BERT, scores and the weighted sum of slices.
    pub tgis_ms: f64,
    /// The prompt through the LLM, to the first token, or to the first logits where no token is wanted.
    pub prefill_ms: f64,
    /// The steps of all later tokens. A step serves all questions that run, so its time is counted for each of them;
    /// the prompts of other questions that are begun between two steps are not.
    pub decode_ms: f64,
    /// From the call to the first token: the sum of the first three.
    pub first_token_ms: f64,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text, special tokens left out. Of an answer that the caller broke off: what was delivered.
    pub text: String,
    /// The generated ids; the token that ended the answer is not among them.
    pub token_ids: Vec<u32>,
    /// Why generation ended.
    pub finish_reason: FinishReason,
    /// How much each slice counted; `None` where slices are not weighed.
    pub slice_scores: Option<Vec<f32>>,
    /// Rows of the prompt, image rows included.
    pub prompt_tokens: usize,
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
    pub timings: AskTimings,
    /// Every stage, where the request asked for it.
    pub trace: Option<Trace>,
}
