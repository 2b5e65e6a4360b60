//! The life of the thread.
use super::Scheduler;
use crate::Error;
use rayon::ThreadPool;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// The thread that runs a model; dropping it ends what runs and joins it.
pub(crate) struct Thread {
    inbox: Arc<super::Inbox>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    /// Starts it. Its ops run on `pool`, or on rayon's global one.
    ///
    /// # Errors
    /// [`Error::Failed`] if the system gives no thread.
    pub fn start(scheduler: Scheduler, pool: Option<ThreadPool>) -> crate::Result<Self> {
        let inbox = scheduler.inbox.clone();
        let work = move || match pool {
            Some(pool) => pool.install(|| run(scheduler)),
            None => run(scheduler),
        };
        let started = std::thread::Builder::new().name("med2e3".into()).spawn(work);
        let handle = started.map_err(|error| Error::Failed(format!("no thread could be started: {error}").into()))?;
        Ok(Self { inbox, handle: Mutex::new(Some(handle)) })
    }
}

/// Turn by turn, until the engine is dropped or cannot go on. Whatever happens, no caller waits for ever.
fn run(mut scheduler: Scheduler) {
    let end = loop {
        match catch_unwind(AssertUnwindSafe(|| scheduler.turn())) {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => break Error::Stopped,
            Ok(Err(error)) => break error,
            Err(panic) => break Error::Failed(format!("a panic: {}", said(&*panic)).into()),
        }
    };
    scheduler.fail(&end);
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("of unknown cause")
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.inbox.stop();
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A waker that a caller left may hold the last engine and be dropped on the thread itself, which then ends
        // without being waited for. The thread has caught every panic of its own.
        let other = handle.filter(|handle| handle.thread().id() != std::thread::current().id());
        let _ = other.map(JoinHandle::join);
    }
}
