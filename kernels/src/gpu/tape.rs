//! Launches that the emulator records and runs again, under the rules of a driver's graph.
use super::Emulation;
use super::backend::{Shared, busy};
use super::emulated::{Block, launch};
use super::in_use::InUse;
use super::kernel::{Grid, Kernel};
use crate::{Graph, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What happens on the emulated stream.
pub(super) enum Step {
    /// A kernel with its parameter block, in words because its fields want their alignment.
    Launch { kernel: Kernel, grid: Grid, params: Box<[u64]> },
    /// Fills the workspace with NaN.
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
    /// Whether a graph is being recorded, by the one thread that has its turn.
    records: bool,
    steps: Vec<Step>,
    in_use: InUse<Block>,
}

/// An emulated GPU's recorder.
#[derive(Clone, Default)]
pub(super) struct Tape(Arc<Mutex<State>>);

impl Tape {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a step for later while a graph is recorded, or gives it back to be run now.
    pub fn offer(&self, step: Step) -> Option<Step> {
        let mut state = self.lock();
        if !state.records {
            return Some(step);
        }
        state.steps.push(step);
        None
    }

    /// # Errors
    /// [`Error::Contract`] while a graph is recorded: what `op` does cannot be.
    pub fn idle(&self, op: &'static str) -> Result<()> {
        if self.lock().records { Err(busy(op)) } else { Ok(()) }
    }

    /// Notes memory that an op was given.
    pub fn note(&self, bytes: Range<usize>) {
        self.lock().in_use.note(bytes);
    }

    /// Frees the memory of a tensor that is gone as soon as no graph uses it.
    pub fn retire(&self, bytes: Range<usize>, block: Block) {
        // Freed after the lock is released.
        let unused = self.lock().in_use.retire(bytes, block);
        drop(unused);
    }

    /// Records what `enqueue` launches. The caller has its turn.
    pub fn record(
        &self,
        emulation: Emulation,
        shared: Shared,
        enqueue: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Box<dyn Graph>> {
        self.idle("capture")?;
        let uses = Uses { tape: self.clone(), graph: self.lock().in_use.record() };
        let mut graph = Recorded { steps: Vec::new(), emulation, shared, uses };
        self.lock().records = true;
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
        let unused = {
            let mut state = self.0.lock();
            state.records = false;
            state.steps.clear();
            state.in_use.recorded()
        };
        drop(unused);
    }
}

/// Keeps the memory that a graph uses from being freed.
struct Uses {
    tape: Tape,
    graph: u64,
}

impl Drop for Uses {
    fn drop(&mut self) {
        let unused = self.tape.lock().in_use.forget(self.graph);
        drop(unused);
    }
}

/// A recorded graph.
struct Recorded {
    steps: Vec<Step>,
    emulation: Emulation,
    shared: Shared,
    uses: Uses,
}

impl Graph for Recorded {
    fn launch(&self) -> Result<()> {
        self.shared.failed.get().map_or(Ok(()), |error| Err(error.clone()))?;
        let _turn = self.shared.turns.take();
        self.uses.tape.idle("graph")?;
        for step in &self.steps {
            // SAFETY: as it was recorded: the memory of every tensor that its ops were given is kept, and no other
            // thread reads or writes the device's memory during this turn.
            unsafe { step.run(self.emulation) }.inspect_err(|error| {
                self.shared.failed.get_or_init(|| error.clone());
            })?;
        }
        Ok(())
    }
}
