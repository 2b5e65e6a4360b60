//! An answer that is in the making.
use crate::error::ApiError;
use crate::shared::Shared;
use med2e3::{Answer, Answering, ContentHash, Event};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;

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
        Self { answering, hash, shared, cut, started, last_token: None, prompt_tokens: 0, _permit: permit }
    }

    /// The next event, or why there is none; nothing after the last.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event, ApiError>>> {
        let Some(answering) = &mut self.answering else { return Poll::Ready(None) };
        if self.cut.as_mut().poll(context).is_ready() {
            self.answering = None;
            return Poll::Ready(Some(Err(med2e3::Error::Stopped.into())));
        }
        let next = match answering.poll_next_event(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(next) => next,
        };
        match &next {
            Some(Ok(event)) => self.follow(event),
            Some(Err(error)) => self.shared.note(error),
            None => {}
        }
        Poll::Ready(next.map(|event| event.map_err(ApiError::from)))
    }

    fn follow(&mut self, event: &Event) {
        let metrics = &self.shared.metrics;
        match event {
            Event::Begun { prompt_tokens, .. } => self.prompt_tokens = *prompt_tokens,
            Event::Token { .. } => {
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
