//! A volume that an engine has seen, or is about to see.
use crate::{Error, OnProgress, Progress, Result, Trace};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// SHA-256 of the voxels of a prepared volume.
pub type ContentHash = [u8; 32];

/// A volume as the model sees it: a counted handle, which keeps the volume's features on the device. A question that
/// was submitted holds one too, so that dropping yours never disturbs it. Dropping the last handle before the volume
/// is encoded cancels that.
#[derive(Clone)]
pub struct Volume {
    pub(crate) inner: Arc<VolumeInner>,
}

/// What keeps a volume in its place: handles and questions hold it, the encoders do not.
pub(crate) struct VolumeInner {
    /// The engine that encodes it: to another one its features mean nothing.
    pub engine: u64,
    pub place: Place,
    pub hash: ContentHash,
    pub state: Arc<VolumeState>,
}

/// Where features are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which of the engine's places.
    pub index: usize,
    /// What tells the features from all that were there before.
    pub id: u64,
}

/// How far a volume has come.
pub(crate) struct VolumeState {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    progress: Option<Progress>,
    trace: Option<Trace>,
}

enum Phase {
    Waiting,
    Ready,
    Failed(Error),
}

impl VolumeState {
    pub fn new(ready: bool) -> Self {
        let phase = if ready { Phase::Ready } else { Phase::Waiting };
        let state = Mutex::new(State { phase, progress: None, trace: None });
        Self { state, changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far the encoders have come.
    pub fn note(&self, progress: Progress) {
        self.lock().progress = Some(progress);
        self.changed.notify_all();
    }

    /// Says to all who wait that the volume is encoded, or why it is not.
    pub fn end(&self, result: Result<Option<Trace>>) {
        let mut state = self.lock();
        match result {
            Ok(trace) => (state.phase, state.trace) = (Phase::Ready, trace),
            Err(error) => state.phase = Phase::Failed(error),
        }
        self.changed.notify_all();
    }

    /// Whether the features are there, as far as that is known.
    pub fn readiness(&self) -> Option<Result<()>> {
        match &self.lock().phase {
            Phase::Waiting => None,
            Phase::Ready => Some(Ok(())),
            Phase::Failed(error) => Some(Err(error.clone())),
        }
    }
}

impl Volume {
    /// Blocks until the volume is encoded. Questions need not wait: they may be submitted at once.
    ///
    /// # Errors
    /// Why it was not: [`Error::Device`], [`Error::Stopped`].
    pub fn wait(&self) -> Result<()> {
        self.wait_with(&mut |_| std::ops::ControlFlow::Continue(()))
    }

    /// As [`Volume::wait`], and tells `progress`, on this thread, how far the encoders have come.
    ///
    /// # Errors
    /// As [`Volume::wait`]; [`Error::Cancelled`] if `progress` breaks off, which ends the waiting. The work ends when
    /// the last handle is dropped.
    pub fn wait_with(&self, progress: OnProgress<'_>) -> Result<()> {
        let mut seen = None;
        let shared = &self.inner.state;
        let mut state = shared.lock();
        loop {
            if state.progress != seen {
                seen = state.progress;
                drop(state);
                if seen.is_some_and(|seen| progress(seen).is_break()) {
                    return Err(Error::Cancelled);
                }
                state = shared.lock();
                continue;
            }
            match &state.phase {
                Phase::Waiting => state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Phase::Ready => return Ok(()),
                Phase::Failed(error) => return Err(error.clone()),
            }
        }
    }

    /// Whether it is encoded, without waiting.
    ///
    /// # Errors
    /// Why it never will be.
    pub fn is_ready(&self) -> Result<bool> {
        self.inner.state.readiness().transpose().map(|ready| ready.is_some())
    }

    /// SHA-256 of the prepared voxels, as little-endian f32.
    pub fn content_hash(&self) -> ContentHash {
        self.inner.hash
    }

    /// The encoders' tokens, once, where [`crate::Engine::encode_traced`] was asked for them and has ended.
    pub fn take_trace(&self) -> Option<Trace> {
        self.inner.state.lock().trace.take()
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.inner.hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        write!(f, "Volume {hash}")
    }
}
