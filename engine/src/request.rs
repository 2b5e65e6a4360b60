//! What is asked and what comes back.
use crate::prompt::Conversation;
use crate::trace::Trace;
use kernels::ops::Sampling;

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
    /// How many of the most likely tokens to report at each step; 0 for none.
    pub logprobs: usize,
    /// Whether to record every stage.
    pub trace: bool,
    /// Tokens to answer with in place of chosen ones: with `logprobs`, what the model thinks of a given answer.
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

/// One generated token, as it is generated.
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

/// Milliseconds of each stage of one question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AskTimings {
    /// BERT, scores and the weighted sum of slices.
    pub tgis_ms: f64,
    /// The prompt through the LLM, to the first logits.
    pub prefill_ms: f64,
    /// All later tokens.
    pub decode_ms: f64,
    /// From the call to the first token.
    pub first_token_ms: f64,
}

/// A finished answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The text, special tokens left out.
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
    /// Per generated token the most likely ids and their log-probabilities, best first.
    pub top_logprobs: Vec<Vec<(u32, f32)>>,
    /// How long each stage took.
    pub timings: AskTimings,
    /// Every stage, where the request asked for it.
    pub trace: Option<Trace>,
}
