//! What a GPU runs on: the NVIDIA driver (`cuda.rs`, feature `cuda`) or the emulator (`emulated.rs`, feature
//! `emulator`). Launchers and checks above it are the same for both.
use super::kernel::{Grid, Kernel};
use super::turn::Turns;
use crate::{DType, Error, Graph, Mem, Result, Space, View, ViewMut};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What the GPU of a graph shares with it.
#[cfg_attr(not(any(feature = "cuda", feature = "emulator")), expect(dead_code))]
pub(super) struct Shared {
    /// Threads that share the device take turns, op by op, since a graph that is recorded or replayed is one op.
    pub turns: Arc<Turns>,
    /// The first launch that failed; nothing runs after it.
    pub failed: Arc<OnceLock<Error>>,
}

/// One stream of launches and the memory that they use. Calls come from the thread that has its turn.
pub(super) trait Backend: Send + Sync {
    /// For people.
    fn describe(&self) -> String;

    /// Bytes that can still be allocated, where they are counted.
    fn free_bytes(&self) -> Option<usize>;

    /// Notes memory that an op was given: while a graph is recorded, it is the graph's.
    fn note_use(&self, bytes: Range<usize>);

    /// Zeroed memory.
    fn alloc(&self, bytes: usize, space: Space) -> Result<Mem>;

    /// Overwrites a tensor, which is this GPU's, with elements of type `from`.
    ///
    /// # Safety
    /// `src` holds as many elements as the tensor.
    unsafe fn upload(&self, dst: &mut ViewMut<'_>, src: &[u8], from: DType) -> Result<()>;

    /// Waits for the launches and copies rows of a tensor, which is this GPU's, to the host without gaps.
    ///
    /// # Safety
    /// `dst` has as many bytes as the view's elements.
    unsafe fn download(&self, src: &View<'_>, dst: &mut [u8]) -> Result<()>;

    /// Enqueues a kernel, or records it.
    ///
    /// # Safety
    /// As [`super::Gpu::launch`].
    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, params: &[u8]) -> Result<()>;

    /// How long what `enqueue` launches takes.
    fn time(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration>;

    /// Records what `enqueue` launches.
    fn record(&self, shared: Shared, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Graph>>;

    /// Fills memory with NaN before an op uses it as its workspace, where that finds mistakes and costs nothing.
    ///
    /// # Safety
    /// The tensor is this GPU's, and no other op uses it.
    unsafe fn poison(&self, workspace: &mut ViewMut<'_>, bytes: usize) -> Result<()> {
        let _ = (workspace, bytes);
        Ok(())
    }
}

/// What `op` may not do now.
#[cfg(any(feature = "cuda", feature = "emulator"))]
pub(super) fn busy(op: &'static str) -> Error {
    let detail = "a graph is being recorded, which takes ops only: nothing may be copied or allocated";
    Error::Contract { op, detail: detail.into() }
}
