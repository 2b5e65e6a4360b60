//! An answer as server-sent events.
use super::params::Sending;
use super::reply::{Shape, Token, Usage};
use crate::ask::Running;
use crate::error::ApiError;
use crate::files;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use med2e3::{Engine, Event, FinishReason};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a comment says that the answer is on its way.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// What follows the last part.
const DONE: &str = "[DONE]";

/// Parts of an answer, each as the data of an event.
struct Parts {
    running: Running,
    engine: Engine,
    shape: Shape,
    usage: bool,
    waiting: VecDeque<String>,
    seen: Usage,
    chars: usize,
    over: bool,
}

/// The reply that sends an answer while it comes.
pub(crate) fn reply(running: Running, engine: Engine, shape: Shape, sending: Sending) -> Response {
    let hash = running.hash;
    let parts = Parts {
        running,
        engine,
        shape,
        usage: sending.usage,
        waiting: VecDeque::new(),
        seen: Usage::default(),
        chars: 0,
        over: false,
    };
    let mut response = Sse::new(parts).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    files::mark(&mut response, &hash);
    response
}

/// The reply that sends a chosen answer, which is known, as a stream.
pub(crate) fn known(text: &str, extra: &Value, shape: &Shape, usage: Usage, sending: Sending) -> Response {
    let mut first = shape.part("", true, None, &Value::Null);
    merge(&mut first, extra);
    let mut parts = vec![
        first,
        shape.part(text, false, None, &Value::Null),
        shape.part("", false, Some(FinishReason::Stop), &Value::Null),
    ];
    if sending.usage {
        parts.iter_mut().for_each(|part| part["usage"] = Value::Null);
        parts.push(shape.usage_part(usage));
    }
    let texts = parts.into_iter().map(|part| part.to_string()).chain([DONE.to_owned()]);
    let events = texts.map(|text| Ok::<_, Infallible>(sse::Event::default().data(text)));
    Sse::new(futures_util::stream::iter(events.collect::<Vec<_>>())).into_response()
}

/// Adds the fields of one object to another.
pub(crate) fn merge(object: &mut Value, more: &Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more.clone());
    }
}

impl Parts {
    fn send(&mut self, mut part: Value) {
        if self.usage {
            part["usage"] = Value::Null;
        }
        self.waiting.push_back(part.to_string());
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Begun { slice_scores, prompt_tokens, cached_tokens, .. } => {
                self.seen = Usage { prompt: prompt_tokens, cached: cached_tokens, completion: 0 };
                let mut first = self.shape.part("", true, None, &Value::Null);
                first["slice_scores"] = json!(slice_scores.as_deref());
                self.send(first);
            }
            Event::Token { id, text, logprob, top } => {
                self.seen.completion += 1;
                let tokens: Vec<Token> = logprob.map(|logprob| Token { id, logprob, top }).into_iter().collect();
                if !text.is_empty() || !tokens.is_empty() {
                    let logprobs = self.shape.logprobs(self.engine.tokenizer(), &tokens, self.chars);
                    self.chars += text.chars().count();
                    let part = self.shape.part(&text, false, None, &logprobs);
                    self.send(part);
                }
            }
            Event::Text(text) if !text.is_empty() => {
                self.chars += text.chars().count();
                let part = self.shape.part(&text, false, None, &Value::Null);
                self.send(part);
            }
            Event::Ended { reason, .. } => {
                let part = self.shape.part("", false, Some(reason), &Value::Null);
                self.send(part);
                if self.usage {
                    self.waiting.push_back(self.shape.usage_part(self.seen).to_string());
                }
                self.waiting.push_back(DONE.to_owned());
                self.over = true;
            }
            _ => {}
        }
    }

    /// A fault in the midst of a stream is an event: the status was sent long ago.
    fn fail(&mut self, error: &ApiError) {
        self.waiting.push_back(error.body().to_string());
        self.over = true;
    }
}

impl Stream for Parts {
    type Item = Result<sse::Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(data) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(sse::Event::default().data(data))));
            }
            if self.over {
                return Poll::Ready(None);
            }
            match self.running.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(event))) => self.take(event),
                Poll::Ready(Some(Err(error))) => self.fail(&error),
                Poll::Ready(None) => self.over = true,
            }
        }
    }
}
