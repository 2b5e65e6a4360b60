//! Launches that the emulator records and runs again, under the rules of a driver's graph.
use super::Kernel;
use super::emulated::{Block, Emulation, launch};
use crate::{Error, Graph, Result};
use simt::Grid;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::ThreadId;

/// What happens on the emulated stream.
pub(super) enum Step {
    /// A kernel with its parameter block, in words because its fields want their alignment.
    Launch { kernel: Kernel, grid: Grid, params: Box<[u64]> },
    /// So many bytes of the workspace lose their content.
    Poison { at: usize, bytes: usize },
}

impl Step {
    /// A launch with a copy of its parameter block.
    pub fn of(kernel: &Kernel, grid: Grid, params: &[u8]) -> Self {
        let mut words = vec![0u64; params.len().div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut(&mut words)[..params.len()].copy_from_slice(params);
        Self::Launch { kernel: *kernel, grid, params: words.into() }
    }

    /// # Safety
    /// As [`super::Gpu::launch`]; to poison, the bytes are the emulator's and nobody else uses them.
    pub unsafe fn run(&self, emulation: Emulation) -> Result<()> {
        match self {
            // SAFETY: as the caller promises. The block may be a word longer than the kernel reads.
            Self::Launch { kernel, grid, params } => unsafe {
                launch(emulation, kernel, *grid, bytemuck::cast_slice(params))
            },
            Self::Poison { at, bytes } => {
                // SAFETY: as the caller promises.
                unsafe { std::ptr::with_exposed_provenance_mut::<u8>(*at).write_bytes(0xff, *bytes) };
                Ok(())
            }
        }
    }
}

#[derive(Default)]
struct State {
    recorder: Option<ThreadId>,
    steps: Vec<Step>,
    /// Recorded graphs, and memory that waits until they are gone.
    graphs: usize,
    waiting: Vec<Block>,
}

/// An emulated GPU's recorder.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<State>>);

impl Tape {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a step for later while this thread records, or gives it back to be run now.
    ///
    /// # Errors
    /// [`Error::Contract`] while another thread records.
    pub fn offer(&self, op: &'static str, step: Step) -> Result<Option<Step>> {
        let mut state = self.lock();
        match state.recorder {
            None => Ok(Some(step)),
            Some(thread) if thread == std::thread::current().id() => {
                state.steps.push(step);
                Ok(None)
            }
            Some(_) => Err(busy(op)),
        }
    }

    /// # Errors
    /// [`Error::Contract`] while anybody records: what `op` does cannot be.
    pub fn idle(&self, op: &'static str) -> Result<()> {
        self.lock().recorder.map_or(Ok(()), |_| Err(busy(op)))
    }

    /// Releases memory as soon as no graph may use it.
    pub fn bury(&self, block: Block) {
        let mut state = self.lock();
        if state.graphs > 0 {
            state.waiting.push(block);
        }
    }

    /// Records what `enqueue` launches.
    pub fn record(
        &self,
        emulation: Emulation,
        failed: &Arc<OnceLock<Error>>,
        enqueue: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Box<dyn Graph>> {
        self.idle("capture")?;
        let mut graph = Recorded { steps: Vec::new(), emulation, failed: failed.clone(), tape: self.clone() };
        {
            let mut state = self.lock();
            state.recorder = Some(std::thread::current().id());
            state.graphs += 1;
        }
        let recording = Recording(self);
        enqueue()?;
        graph.steps = std::mem::take(&mut recording.0.lock().steps);
        drop(recording);
        Ok(Box::new(graph))
    }
}

/// Ends the recording even if the ops panic.
struct Recording<'a>(&'a Tape);

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.recorder = None;
        state.steps.clear();
    }
}

/// A recorded graph.
struct Recorded {
    steps: Vec<Step>,
    emulation: Emulation,
    failed: Arc<OnceLock<Error>>,
    tape: Tape,
}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))?;
        self.tape.idle("graph")?;
        for step in &self.steps {
            // SAFETY: as it was recorded; the memory is kept, and a graph's user keeps others off its tensors.
            unsafe { step.run(self.emulation) }.inspect_err(|error| {
                self.failed.get_or_init(|| error.clone());
            })?;
        }
        Ok(())
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let mut state = self.tape.lock();
        state.graphs -= 1;
        if state.graphs == 0 {
            state.waiting.clear();
        }
    }
}

/// What `op` may not do now.
pub(super) fn busy(op: &'static str) -> Error {
    let detail = "a graph is being recorded: only its own thread may run ops, and nothing may be copied or allocated";
    Error::Contract { op, detail: detail.into() }
}
