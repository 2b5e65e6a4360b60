//! Work recorded from the stream and replayed with one call. Tested over a stand-in for the driver only.
use super::backend::Shared;
use super::driver::{Driver, code, failure};
use super::memory::release;
use crate::{Error, Graph, Result};
use cudarc::driver::result;
use cudarc::driver::sys;
use std::sync::Arc;

/// Keeps the memory that a graph uses from being freed.
struct Uses {
    driver: Arc<Driver>,
    graph: u64,
}

impl Uses {
    /// Of a graph that is about to be recorded.
    fn new(driver: &Arc<Driver>) -> Self {
        Self { driver: driver.clone(), graph: driver.in_use().record() }
    }
}

impl Drop for Uses {
    fn drop(&mut self) {
        let unused = self.driver.in_use().forget(self.graph);
        release(&self.driver, unused);
    }
}

/// A recorded graph.
struct Recorded {
    graph: sys::CUgraphExec,
    shared: Shared,
    /// Last, so that the graph goes before the memory.
    uses: Uses,
}

// SAFETY: a handle of the driver, which every thread may use.
unsafe impl Send for Recorded {}
// SAFETY: as above.
unsafe impl Sync for Recorded {}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        self.shared.failed.get().map_or(Ok(()), |error| Err(error.clone()))?;
        let _turn = self.shared.turns.take();
        let driver = &self.uses.driver;
        let mut queue = driver.enter("graph", false)?;
        queue.last = "graph";
        // SAFETY: instantiated; the memory of every tensor that its ops were given is kept.
        unsafe { result::graph::launch(self.graph, driver.stream) }.map_err(|error| {
            let error = failure("graph", error);
            self.shared.failed.get_or_init(|| error.clone());
            error
        })
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.uses.driver.bind();
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
        queue.records = false;
        // SAFETY: the stream is ours and was recorded by this thread.
        let ended = unsafe { result::stream::end_capture(self.driver.stream) };
        let unused = self.driver.in_use().recorded();
        release(self.driver, unused);
        ended.map_err(|error| {
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

/// Records what `enqueue` launches. The caller has its turn.
pub(super) fn record(
    driver: &Arc<Driver>,
    shared: Shared,
    enqueue: &mut dyn FnMut() -> Result<()>,
) -> Result<Box<dyn Graph>> {
    let mut queue = driver.enter("capture", false)?;
    let uses = Uses::new(driver);
    let mut recording = {
        // SAFETY: the stream is ours. Other threads' calls do not disturb a recording of this mode.
        unsafe {
            let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
            result::stream::begin_capture(driver.stream, mode).map_err(|error| failure("capture", error))?;
        }
        queue.records = true;
        Recording { driver, ended: false }
    };
    drop(queue);
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
    Ok(Box::new(Recorded { graph, shared, uses }))
}
