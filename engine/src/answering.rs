//! An answer as it comes, from the thread that runs the model to the one that asked.
use crate::request::Timings;
use crate::schedule::Inbox;
use crate::{Answer, FinishReason, Progress, Result, Trace};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What happens to a question, in this order.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The prompt is being read. One that was not taken before the next comes is replaced by it.
    Progress(Progress),
    /// The prompt was read.
    Begun {
        /// How much each slice counts; `None` where slices are not weighed.
        slice_scores: Option<Arc<[f32]>>,
        /// Rows of the prompt, image rows included.
        prompt_tokens: usize,
        /// How many of them an earlier question about the volume had left in the cache.
        cached_tokens: usize,
        /// From [`crate::Engine::submit`] to the prompt's beginning.
        queued: Duration,
    },
    /// A token of the answer.
    Token {
        /// Its id.
        id: u32,
        /// What it adds to the text; empty while a character is incomplete or a stop text may be beginning.
        text: String,
        /// Where asked for: its natural log-probability, before any temperature, top-k or top-p.
        logprob: Option<f32>,
        /// As many of the most likely ids as were asked for, with their log-probabilities, best first.
        top: Vec<(u32, f32)>,
    },
    /// Text that was held back until the answer ended.
    Text(String),
    /// Nothing follows.
    Ended {
        /// Why.
        reason: FinishReason,
        /// Where asked for: the log-probability of the token that ended the answer.
        end_logprob: Option<f32>,
        /// How long each stage took.
        timings: Timings,
        /// Every stage, where the request asked for it.
        trace: Option<Box<Trace>>,
    },
}

/// Events on their way. The thread that runs the model never waits for a reader.
#[derive(Default)]
pub(crate) struct Stream {
    state: Mutex<State>,
    changed: Condvar,
    cancelled: AtomicBool,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    end: Option<Result<()>>,
    waker: Option<Waker>,
}

impl Stream {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let waker = state.waker.take();
        drop(state);
        self.changed.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Hands an event on.
    pub fn push(&self, event: Event) {
        self.change(|state| {
            if matches!(state.events.back(), Some(Event::Progress(_))) {
                state.events.pop_back();
            }
            state.events.push_back(event);
        });
    }

    /// Says that nothing follows, or why.
    pub fn end(&self, result: Result<()>) {
        self.change(|state| {
            state.end.get_or_insert(result);
        });
    }

    /// Whether the reader wants no more.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// The answer to a question, as it comes. **Dropping it cancels the question** before the next unit of work, and its
/// place in the cache is free before the next question begins.
///
/// It needs no runtime: block with [`Answering::next_event`] or as an [`Iterator`], or poll it. Events wait in memory,
/// at most one for each token, so a slow reader holds nothing up.
pub struct Answering {
    stream: Arc<Stream>,
    inbox: Arc<Inbox>,
    answer: Answer,
    /// Whether the end was read.
    over: bool,
}

/// Cancels a question from another thread.
#[derive(Clone)]
pub struct Canceller {
    stream: Arc<Stream>,
    inbox: Arc<Inbox>,
}

impl Canceller {
    /// Ends the question before the next unit of work, as dropping its [`Answering`] does.
    pub fn cancel(&self) {
        self.stream.cancelled.store(true, Ordering::Relaxed);
        self.inbox.wake();
    }
}

impl Answering {
    pub(crate) fn new(stream: Arc<Stream>, inbox: Arc<Inbox>, prompt_ids: Vec<i64>) -> Self {
        Self { stream, inbox, answer: Answer::empty(prompt_ids), over: false }
    }

    /// The next event, for which this thread waits; `None` after the last.
    pub fn next_event(&mut self) -> Option<Result<Event>> {
        self.next_within(None).expect("without a limit there is a next event or an end")
    }

    /// As [`Answering::next_event`], but waits no longer than until `at`; `Err` if nothing came by then.
    ///
    /// # Errors
    /// [`TimedOut`].
    pub fn next_before(&mut self, at: Instant) -> std::result::Result<Option<Result<Event>>, TimedOut> {
        self.next_within(Some(at))
    }

    fn next_within(&mut self, limit: Option<Instant>) -> std::result::Result<Option<Result<Event>>, TimedOut> {
        let stream = self.stream.clone();
        let mut state = stream.lock();
        loop {
            if let Some(next) = self.take_from(&mut state) {
                return Ok(next);
            }
            let Some(limit) = limit else {
                state = stream.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = limit.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TimedOut);
            }
            state = stream.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// As [`Answering::next_event`], for an executor: the context's waker is woken when there is more.
    pub fn poll_next_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Event>>> {
        let stream = self.stream.clone();
        let mut state = stream.lock();
        match self.take_from(&mut state) {
            Some(next) => Poll::Ready(next),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// What is there: an event, or the end. `None` if there is neither yet.
    fn take_from(&mut self, state: &mut State) -> Option<Option<Result<Event>>> {
        if self.over {
            return Some(None);
        }
        if let Some(event) = state.events.pop_front() {
            self.answer.add(&event);
            return Some(Some(Ok(event)));
        }
        let end = state.end.take()?;
        self.over = true;
        Some(end.err().map(Err))
    }

    /// Waits for the rest.
    ///
    /// # Errors
    /// Why there is no answer. A cancelled question gives the part that was read.
    pub fn finish(self) -> Result<Answer> {
        self.finish_with(&mut |_| ControlFlow::Continue(()))
    }

    /// As [`Answering::finish`], and shows each event, on this thread, to `on_event`, which may break off: the answer
    /// is then what it has seen.
    ///
    /// # Errors
    /// As [`Answering::finish`].
    pub fn finish_with(mut self, on_event: &mut dyn FnMut(&Event) -> ControlFlow<()>) -> Result<Answer> {
        while let Some(event) = self.next_event() {
            let event = event?;
            if on_event(&event).is_break() && !matches!(event, Event::Ended { .. }) {
                self.answer.finish_reason = FinishReason::Cancelled;
                break;
            }
        }
        Ok(std::mem::replace(&mut self.answer, Answer::empty(Vec::new())))
    }

    /// What cancels this question from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller { stream: self.stream.clone(), inbox: self.inbox.clone() }
    }
}

impl Iterator for Answering {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event()
    }
}

/// For executors and their combinators; nothing follows an error.
#[cfg(feature = "futures")]
impl futures_core::Stream for Answering {
    type Item = Result<Event>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_next_event(context)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        if !self.over && !matches!(self.stream.lock().end, Some(Ok(()))) {
            self.canceller().cancel();
        }
    }
}

/// Nothing came in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl std::fmt::Display for TimedOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing came in time")
    }
}

impl std::error::Error for TimedOut {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn answering() -> (Arc<Stream>, Answering) {
        let stream = Arc::new(Stream::default());
        let answering = Answering::new(stream.clone(), Arc::new(Inbox::new(1)), vec![1, -201]);
        (stream, answering)
    }

    fn token(id: u32, text: &str) -> Event {
        Event::Token { id, text: text.into(), logprob: None, top: Vec::new() }
    }

    #[test]
    fn events_add_up_to_the_answer() {
        let (stream, answering) = answering();
        let scores: Arc<[f32]> = Arc::from([0.5, 0.5]);
        let queued = Duration::from_millis(3);
        stream.push(Event::Begun { slice_scores: Some(scores), prompt_tokens: 9, cached_tokens: 4, queued });
        stream.push(token(7, "Lu"));
        stream.push(token(8, "ng"));
        stream.push(Event::Text("!".into()));
        let reason = FinishReason::Stop;
        let timings = Timings::default();
        stream.push(Event::Ended { reason, end_logprob: Some(-0.5), timings, trace: None });
        stream.end(Ok(()));
        let answer = answering.finish().expect("it has ended");
        assert_eq!((answer.text.as_str(), &answer.token_ids[..]), ("Lung!", &[7, 8][..]));
        assert_eq!((answer.prompt_tokens, answer.cached_tokens, answer.end_logprob), (9, 4, Some(-0.5)));
        assert_eq!((answer.finish_reason, answer.prompt_ids), (FinishReason::Stop, vec![1, -201]));
    }

    #[test]
    fn an_error_is_read_once_and_nothing_follows() {
        let (stream, mut answering) = answering();
        stream.push(token(7, "a"));
        stream.end(Err(Error::Stopped));
        stream.end(Ok(()));
        assert!(matches!(answering.next_event(), Some(Ok(Event::Token { id: 7, .. }))));
        assert!(matches!(answering.next_event(), Some(Err(Error::Stopped))));
        assert!(answering.next_event().is_none() && answering.next_event().is_none());
    }

    #[test]
    fn waiting_ends_in_time_and_dropping_cancels() {
        let (stream, mut answering) = answering();
        assert_eq!(answering.next_before(Instant::now() + Duration::from_millis(5)).err(), Some(TimedOut));
        assert!(!stream.is_cancelled());
        drop(answering);
        assert!(stream.is_cancelled());
        let (stream, answering) = self::answering();
        stream.end(Ok(()));
        drop(answering);
        assert!(!stream.is_cancelled(), "it had ended");
    }

    #[test]
    fn progress_that_was_not_read_is_replaced() {
        let (stream, mut answering) = answering();
        for done in 1..=3 {
            stream.push(Event::Progress(Progress { stage: crate::ProgressStage::Prefill, done, total: 3 }));
        }
        assert!(matches!(answering.next_event(), Some(Ok(Event::Progress(Progress { done: 3, .. })))));
        stream.push(Event::Progress(Progress { stage: crate::ProgressStage::Prefill, done: 1, total: 3 }));
        stream.push(token(1, ""));
        assert!(matches!(answering.next_event(), Some(Ok(Event::Token { .. }))));
    }

    #[test]
    fn a_poll_is_woken() {
        struct Flag(AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (stream, mut answering) = answering();
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag.clone());
        let mut context = Context::from_waker(&waker);
        assert!(answering.poll_next_event(&mut context).is_pending());
        stream.push(token(2, "x"));
        assert!(flag.0.load(Ordering::Relaxed));
        assert!(matches!(answering.poll_next_event(&mut context), Poll::Ready(Some(Ok(Event::Token { id: 2, .. })))));
        stream.end(Ok(()));
        assert!(matches!(answering.poll_next_event(&mut context), Poll::Ready(None)));
    }
}
