//! What callers hand to the thread that runs the model.
use super::queue::{Admission, Queue};
use crate::encoded::{Place, VolumeInner, VolumeState};
use crate::running::Question;
use crate::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// A volume that waits to be encoded.
pub(crate) struct EncodeJob {
    /// Its handles; without any, nobody wants it.
    pub volume: Weak<VolumeInner>,
    pub place: Place,
    pub state: Arc<VolumeState>,
    pub voxels: Arc<[f32]>,
    /// Whether to record the encoders' tokens.
    pub traced: bool,
}

/// What an engine is doing, for a page of metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Questions that wait for their turn.
    pub waiting: usize,
    /// Questions whose prompt or answer is in the making.
    pub running: usize,
    /// Pages of the KV cache, of 64 tokens each, that are free or that only kept beginnings of prompts hold.
    pub available_pages: usize,
    /// All pages of the KV cache.
    pub pages: usize,
    /// Volumes that are encoded.
    pub encoded_volumes: usize,
    /// Places for volumes that handles keep.
    pub held_volumes: usize,
    /// Prompts whose beginning was in the cache, since the engine was loaded.
    pub prefix_hits: u64,
    /// Prompts whose beginning was not.
    pub prefix_misses: u64,
    /// The longest unit of work since the engine was loaded: a step, or layers of a prompt or an encoder.
    pub longest_unit: Duration,
    /// Tokens that answers have got, since the engine was loaded.
    pub tokens: u64,
}

struct State {
    encodes: VecDeque<EncodeJob>,
    questions: Queue<Question>,
    /// Whether something has come, or gone, since the thread looked last.
    changed: bool,
    stopped: bool,
    /// Why the engine does no more.
    failed: Option<Error>,
    stats: Stats,
}

/// What callers hand over, and where the thread waits for it.
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

impl Inbox {
    /// Room for so many questions.
    pub fn new(questions: usize) -> Self {
        let state = State {
            encodes: VecDeque::new(),
            questions: Queue::new(questions),
            changed: false,
            stopped: false,
            failed: None,
            stats: Stats::default(),
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        match &state.failed {
            Some(error) => Err(error.clone()),
            None if state.stopped => Err(Error::Stopped),
            None => Ok(state),
        }
    }

    /// Lets the thread look again.
    pub fn wake(&self) {
        self.lock().changed = true;
        self.wake.notify_all();
    }

    /// Hands a volume over.
    pub fn encode(&self, job: EncodeJob) -> Result<()> {
        self.open()?.encodes.push_back(job);
        self.wake();
        Ok(())
    }

    /// Hands questions over, which come at the same time; each has a result of its own.
    pub fn submit(&self, questions: Vec<Question>) -> Vec<Result<()>> {
        let mut state = match self.open() {
            Ok(state) => state,
            Err(error) => return questions.iter().map(|_| Err(error.clone())).collect(),
        };
        let push = |question: Question| {
            let pushed = state.questions.push(question.request.tenant, question);
            pushed.map_err(|_| Error::Busy { waiting: state.questions.len() })
        };
        let results = questions.into_iter().map(push).collect();
        drop(state);
        self.wake();
        results
    }

    /// What the engine is doing.
    pub fn stats(&self) -> Stats {
        let state = self.lock();
        Stats { waiting: state.questions.len(), ..state.stats }
    }

    /// Notes what the engine is doing.
    pub fn note(&self, stats: Stats) {
        self.lock().stats = stats;
    }

    /// Asks the thread to end.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.wake();
    }

    /// Blocks until something has changed, or until `limit`. False when the thread should end.
    pub fn wait(&self, limit: Option<Instant>) -> bool {
        let mut state = self.lock();
        while !state.changed && !state.stopped {
            state = match limit {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    let left = limit.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        state.changed = false;
        !state.stopped
    }

    /// Whether the thread should end.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The next volume to encode that somebody still wants.
    pub fn next_encode(&self) -> Option<EncodeJob> {
        let encodes = &mut self.lock().encodes;
        std::iter::from_fn(|| encodes.pop_front()).find(|job| job.volume.strong_count() > 0)
    }

    /// Whether a volume waits that somebody still wants; those that nobody does are forgotten.
    pub fn has_encodes(&self) -> bool {
        let mut state = self.lock();
        state.encodes.retain(|job| job.volume.strong_count() > 0);
        !state.encodes.is_empty()
    }

    /// The next question that can begin.
    pub fn next_question(&self, admission: impl FnMut(&Question) -> Admission) -> Option<Question> {
        self.lock().questions.pop(admission)
    }

    /// Takes out the questions that should not wait any more.
    pub fn extract(&self, ends: impl FnMut(&Question) -> bool) -> Vec<Question> {
        self.lock().questions.extract(ends)
    }

    /// The first deadline of those that wait.
    pub fn first_deadline(&self) -> Option<Instant> {
        self.lock().questions.iter().filter_map(|question| question.request.deadline).min()
    }

    /// Ends all that wait, and all that will come, with an error.
    pub fn fail(&self, error: &Error) {
        let mut state = self.lock();
        state.failed.get_or_insert(error.clone());
        let encodes = std::mem::take(&mut state.encodes);
        let questions = state.questions.extract(|_| true);
        drop(state);
        encodes.iter().for_each(|job| job.state.end(Err(error.clone())));
        questions.into_iter().for_each(|question| question.end(Err(error.clone())));
    }
}
