//! OpenAI's shapes of an answer, whole and in parts.
use crate::ask::text::spelled;
use crate::error::Result;
use crate::shared::{now, random_id};
use med2e3::loaders::tokenizer::LlmTokenizer;
use med2e3::{Answer, FinishReason};
use serde_json::{Value, json};

/// What OpenAI writes for a token that cannot come.
const NEVER: f32 = -9999.0;

/// Which of OpenAI's two shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// What all parts of one reply share.
#[derive(Clone)]
pub(crate) struct Shape {
    kind: Kind,
    id: String,
    created: u64,
    model: String,
    /// How many likely tokens are told beside each token, where any are.
    pub logprobs: Option<usize>,
    /// LLM tokens that stand for the image.
    image_tokens: usize,
}

/// How many tokens there were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub prompt: usize,
    pub cached: usize,
    pub completion: usize,
}

/// A token of an answer, with what is known of it.
pub(crate) struct Token {
    pub id: u32,
    pub logprob: f32,
    pub top: Vec<(u32, f32)>,
}

impl Shape {
    pub fn new(kind: Kind, model: &str, logprobs: Option<usize>, image_tokens: usize) -> Result<Self> {
        let id = random_id(if kind == Kind::Chat { "chatcmpl-" } else { "cmpl-" })?;
        Ok(Self { kind, id, created: now(), model: model.to_owned(), logprobs, image_tokens })
    }

    /// How many likely tokens the engine must tell for that: at least one, or it tells nothing of any token.
    pub fn engine_logprobs(&self) -> usize {
        self.logprobs.map_or(0, |top| top.max(1))
    }

    fn object(&self, part: bool, choices: Value) -> Value {
        let object = match (self.kind, part) {
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
            (Kind::Completion, _) => "text_completion",
        };
        json!({ "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices })
    }

    /// A whole answer of `text`.
    pub fn whole(&self, text: &str, reason: FinishReason, logprobs: &Value, usage: Usage) -> Value {
        let reason = finish_reason(reason);
        let choice = match self.kind {
            Kind::Chat => json!({
                "index": 0,
                "message": { "role": "assistant", "content": text, "refusal": null },
                "logprobs": logprobs,
                "finish_reason": reason,
            }),
            Kind::Completion => json!({ "index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason }),
        };
        let mut whole = self.object(false, json!([choice]));
        whole["usage"] = self.usage(usage);
        whole
    }

    /// A part of an answer; the first says whose it is, and the last why it ended.
    pub fn part(&self, text: &str, is_first: bool, reason: Option<FinishReason>, logprobs: &Value) -> Value {
        let reason = reason.map(finish_reason);
        let choice = match self.kind {
            Kind::Chat => {
                let delta = match (is_first, reason) {
                    (true, _) => json!({ "role": "assistant", "content": text }),
                    (false, Some(_)) => json!({}),
                    (false, None) => json!({ "content": text }),
                };
                json!({ "index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason })
            }
            Kind::Completion => json!({ "index": 0, "text": text, "logprobs": logprobs, "finish_reason": reason }),
        };
        self.object(true, json!([choice]))
    }

    /// The last part of a stream, where it was asked for.
    pub fn usage_part(&self, usage: Usage) -> Value {
        let mut part = self.object(true, json!([]));
        part["usage"] = self.usage(usage);
        part
    }

    pub fn usage(&self, Usage { prompt, cached, completion }: Usage) -> Value {
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": { "cached_tokens": cached, "image_tokens": self.image_tokens },
        })
    }

    /// What is said of `tokens`, which begin `offset` characters into the text; `null` where it was not asked for.
    pub fn logprobs(&self, tokenizer: &LlmTokenizer, tokens: &[Token], offset: usize) -> Value {
        let Some(most) = self.logprobs else { return Value::Null };
        match self.kind {
            Kind::Chat => {
                let entry = |id: u32, logprob: f32| {
                    let (token, bytes) = spelled(tokenizer, id);
                    json!({ "token": token, "logprob": finite(logprob), "bytes": bytes })
                };
                let content = tokens.iter().map(|token| {
                    let top = token.top.iter().take(most).map(|&(id, logprob)| entry(id, logprob)).collect();
                    let mut content = entry(token.id, token.logprob);
                    content["top_logprobs"] = Value::Array(top);
                    content
                });
                json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Completion => {
                let spell = |id: u32| spelled(tokenizer, id).0;
                let mut at = offset;
                let mut offsets = Vec::new();
                for token in tokens {
                    offsets.push(at);
                    at += spell(token.id).chars().count();
                }
                let top = tokens.iter().map(|token| {
                    let likely = token.top.iter().take(most);
                    Value::Object(likely.map(|&(id, logprob)| (spell(id), json!(finite(logprob)))).collect())
                });
                json!({
                    "tokens": tokens.iter().map(|token| spell(token.id)).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|token| finite(token.logprob)).collect::<Vec<_>>(),
                    "top_logprobs": top.collect::<Vec<_>>(),
                    "text_offset": offsets,
                })
            }
        }
    }
}

/// JSON has no infinity.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { NEVER }
}

/// The tokens of an answer, where log-probabilities were asked for.
pub(crate) fn tokens(answer: &Answer) -> Vec<Token> {
    let known = answer.token_ids.iter().zip(&answer.logprobs).zip(&answer.top_logprobs);
    known.map(|((&id, &logprob), top)| Token { id, logprob, top: top.clone() }).collect()
}

/// In OpenAI's words.
fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Cancelled => "stop",
    }
}
