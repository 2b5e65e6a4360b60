//! Everything that was made and not given back, and the work that waits.
use crate::Answer;
use crate::memory::Blocks;
use crate::modules::Function;
use crate::settings::Settings;
use crate::stream::{Event, Stream, Work};
use cudarc::driver::sys::CUresult;
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

/// What a handle stands for, by the handle: the driver's are pointers, ours are numbers.
pub type Handles<T> = HashMap<usize, T>;

thread_local! {
    /// Whether this thread has made the context its own.
    pub static CURRENT: Cell<bool> = const { Cell::new(false) };
}

/// One driver.
pub struct State {
    pub settings: Settings,
    /// Device memory and page-locked host memory.
    pub memory: Blocks,
    pub pinned: Blocks,
    pub streams: Handles<Stream>,
    pub events: Handles<Event>,
    /// Images.
    pub modules: Handles<Vec<u8>>,
    pub functions: Handles<Function>,
    /// Recordings, as they came from a stream and as they can be launched.
    pub graphs: Handles<Arc<[Work]>>,
    pub executables: Handles<Arc<[Work]>>,
    /// What the first failed kernel left behind; it stays.
    pub failed: Option<CUresult>,
    /// How often the context is held.
    pub contexts: usize,
    handles: usize,
}

impl State {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            memory: Blocks::default(),
            pinned: Blocks::default(),
            streams: Handles::new(),
            events: Handles::new(),
            modules: Handles::new(),
            functions: Handles::new(),
            graphs: Handles::new(),
            executables: Handles::new(),
            failed: None,
            contexts: 0,
            handles: 0,
        }
    }

    /// A handle that no other thing has.
    pub fn handle(&mut self) -> usize {
        self.handles += 16;
        self.handles
    }

    /// How many things must be given back before their context goes.
    pub fn left(&self) -> usize {
        let made = [self.streams.len(), self.events.len(), self.modules.len(), self.graphs.len()];
        made.iter().sum::<usize>() + self.executables.len() + self.memory.count() + self.pinned.count()
    }

    /// Whether this thread may call at all.
    ///
    /// # Errors
    /// If it has no context, or a kernel has failed.
    pub fn usable(&self) -> Answer {
        if !CURRENT.get() {
            return Err(CUresult::CUDA_ERROR_INVALID_CONTEXT);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Whether this thread may make a call that cannot be recorded; a recording of its own ends if it tries.
    ///
    /// # Errors
    /// As [`State::usable`], and if it records.
    pub fn plain(&mut self) -> Answer {
        self.usable()?;
        let mut recorders = self.streams.values_mut().filter_map(|stream| stream.recording.as_mut());
        match recorders.find(|recording| recording.thread == std::thread::current().id()) {
            None => Ok(()),
            Some(recording) => {
                recording.valid = false;
                Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
            }
        }
    }
}

/// What a handle stands for.
///
/// # Errors
/// If that is nothing of this kind.
pub fn known<T>(found: Option<T>) -> Answer<T> {
    found.ok_or(CUresult::CUDA_ERROR_INVALID_HANDLE)
}
