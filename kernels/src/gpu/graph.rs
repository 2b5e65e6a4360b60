//! Work recorded from the stream and replayed with one call. Tested over a stand-in for the driver only.
use super::driver::{Driver, code, failure};
use super::memory::release;
use crate::{Error, Graph, Result};
use cudarc::driver::result;
use cudarc::driver::sys;
use std::sync::{Arc, OnceLock, PoisonError};

/// Keeps memory from being released while a graph may use it.
struct Kept(Arc<Driver>);

impl Kept {
    fn new(driver: &Arc<Driver>) -> Self {
        driver.graves.lock().unwrap_or_else(PoisonError::into_inner).graphs += 1;
        Self(driver.clone())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut graves = self.0.graves.lock().unwrap_or_else(PoisonError::into_inner);
        graves.graphs -= 1;
        if graves.graphs == 0 {
            release(&self.0, &mut graves.waiting);
        }
    }
}

/// A recorded graph.
struct Recorded {
    graph: sys::CUgraphExec,
    failed: Arc<OnceLock<Error>>,
    /// Last, so that the graph goes before the memory.
    kept: Kept,
}

// SAFETY: a handle of the driver, which every thread may use.
unsafe impl Send for Recorded {}
// SAFETY: as above.
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))?;
        let driver = &self.kept.0;
        let mut queue = driver.enter("graph", false)?;
        queue.last = "graph";
        // SAFETY: instantiated, and every address in it is kept.
        unsafe { result::graph::launch(self.graph, driver.stream) }.map_err(|error| {
            let error = failure("graph", error);
            self.failed.get_or_init(|| error.clone());
            error
        })
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.kept.0.bind();
        // SAFETY: ours, destroyed once; the driver lets a launch under way finish.
        let _ = unsafe { result::graph::exec_destroy(self.graph) };
    }
}

/// Ends the recording even if the ops panic.
struct Recording<'a> {
    driver: &'a Driver,
    ended: bool,
}

impl Recording<'_> {
    fn end(&mut self) -> Result<sys::CUgraph> {
        self.ended = true;
        let mut queue = self.driver.enter("capture", true)?;
        queue.recorder = None;
        // SAFETY: the stream is ours and was recorded by this thread.
        unsafe { result::stream::end_capture(self.driver.stream) }.map_err(|error| {
            let detail = format!("the ops cannot be recorded, the NVIDIA driver says {}", code(error));
            Error::Contract { op: "capture", detail }
        })
    }
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if !self.ended
            && let Ok(graph) = self.end()
        {
            // SAFETY: ours, destroyed once.
            let _ = unsafe { result::graph::destroy(graph) };
        }
    }
}

/// Records what `enqueue` launches.
pub(super) fn record(
    driver: &Arc<Driver>,
    failed: &Arc<OnceLock<Error>>,
    enqueue: &mut dyn FnMut() -> Result<()>,
) -> Result<Box<dyn Graph>> {
    let kept = Kept::new(driver);
    let mut recording = {
        let mut queue = driver.enter("capture", false)?;
        // SAFETY: the stream is ours. Other threads' calls do not disturb a recording of this mode.
        unsafe {
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            result::stream::begin_capture(driver.stream, mode).map_err(|error| failure("capture", error))?;
        }
        queue.recorder = Some(std::thread::current().id());
        Recording { driver, ended: false }
    };
    enqueue()?;
    let graph = recording.end()?;
    // SAFETY: ended above; the executable copy holds all of it.
    let made = unsafe {
        let made = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
        let _ = result::graph::destroy(graph);
        made
    };
    let graph = made.map_err(|error| {
        let detail = format!("the recorded ops cannot be replayed, the NVIDIA driver says {}", code(error));
        Error::Contract { op: "capture", detail }
    })?;
    Ok(Box::new(Recorded { graph, failed: failed.clone(), kept }))
}
