//! An answer that is in the making.
use crate::audit::Entry;
use crate::error::ApiError;
use crate::shared::Shared;
use med2e3::{Answer, Answering, ContentHash, Event};
use sha2::{Digest, Sha256};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;

struct Ending {
    written: Pin<Box<dyn Future<Output = Result<(), ApiError>> + Send>>,
    event: Event,
}

/// An answer on its way, which metrics follow. Dropping it cancels the question.
pub(crate) struct Running {
    answering: Option<Answering>,
    /// Which volume is asked about.
    pub hash: ContentHash,
    shared: Arc<Shared>,
    /// Ends every answer when the server must end.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    started: Instant,
    last_token: Option<Instant>,
    prompt_tokens: usize,
    /// The question's line in the audit, and the hash of its answer so far.
    entry: Option<Entry>,
    text: Sha256,
    /// The audit's second line on its way to disk, for which the end waits.
    ending: Option<Ending>,
    _permit: OwnedSemaphorePermit,
}

impl Running {
    pub fn new(
        shared: Arc<Shared>,
        answering: Answering,
        permit: OwnedSemaphorePermit,
        hash: ContentHash,
        started: Instant,
    ) -> Self {
        let cut = Box::pin(shared.cut.clone().cancelled_owned());
        let answering = Some(answering);
        Self {
            answering,
            hash,
            shared,
            cut,
            started,
            last_token: None,
            prompt_tokens: 0,
            entry: None,
            text: Sha256::new(),
            ending: None,
            _permit: permit,
        }
    }

    /// Leaves its second line in the audit.
    pub fn recorded(mut self, entry: Option<Entry>) -> Self {
        self.entry = entry;
        self
    }

    /// The next event, or why there is none; nothing after the last.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, ApiError>>> {
        if let Some(ending) = &mut self.ending {
            let written = std::task::ready!(ending.written.as_mut().poll(context));
            let event = self.ending.take().map(|ending| ending.event);
            return Poll::Ready(event.map(|event| written.map(|()| event)));
        }
        let Some(answering) = &mut self.answering else { return Poll::Ready(None) };
        if self.cut.as_mut().poll(context).is_ready() {
            self.answering = None;
            return Poll::Ready(Some(Err(self.failed(&med2e3::Error::Stopped))));
        }
        match std::task::ready!(answering.poll_next_event(context)) {
            None => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(self.failed(&error)))),
            Some(Ok(event)) => {
                self.follow(&event);
                match (&event, self.entry.take()) {
                    (Event::Ended { .. }, Some(entry)) => {
                        let answer = self.text.clone().finalize().into();
                        self.ending = Some(Ending { written: Box::pin(entry.end(answer)), event });
                        self.poll_next(context)
                    }
                    (_, entry) => {
                        self.entry = entry;
                        Poll::Ready(Some(Ok(event)))
                    }
                }
            }
        }
    }

    fn failed(&mut self, error: &med2e3::Error) -> ApiError {
        self.shared.note(error);
        let error = ApiError::from(error.clone());
        if let Some(entry) = &mut self.entry {
            entry.fail(error.code);
        }
        error
    }

    fn follow(&mut self, event: &Event) {
        let metrics = &self.shared.metrics;
        match event {
            Event::Begun { prompt_tokens, .. } => self.prompt_tokens = *prompt_tokens,
            Event::Text(text) => self.text.update(text),
            Event::Token { text, .. } => {
                self.text.update(text);
                let now = Instant::now();
                match self.last_token.replace(now) {
                    Some(last) => metrics.next_token(now - last),
                    None => metrics.first_token(now - self.started),
                }
            }
            Event::Ended { reason, timings, .. } => {
                metrics.finished(reason.name(), self.started.elapsed(), timings, self.prompt_tokens);
            }
            _ => {}
        }
    }

    /// Waits for the whole answer.
    pub async fn finish(mut self) -> Result<Answer, ApiError> {
        while let Some(event) = poll_fn(|context| self.poll_next(context)).await {
            event?;
        }
        let answering = self.answering.take().expect("it is taken where an error was returned");
        answering.finish().map_err(ApiError::from)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.answering = None;
        self.shared.freed.notify_waiters();
    }
}
