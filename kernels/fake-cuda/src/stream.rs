//! Streams, whose work waits until somebody asks for its end, and events in them.
use crate::copies::{Rows, copy};
use crate::modules::Launch;
use crate::state::{State, known};
use crate::{Answer, call, give};
use cudarc::driver::sys::CUresult;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Instant;

/// Something enqueued.
#[derive(Clone)]
pub enum Work {
    Launch(Arc<Launch>),
    Fill { at: usize, value: u8, bytes: usize },
    Copy { from: usize, to: usize, bytes: usize },
    Rows(Rows),
    Mark { event: usize, number: u64 },
}

/// What a stream records instead of running it.
pub struct Recording {
    pub thread: ThreadId,
    pub works: Vec<Work>,
    /// Until a call was made that a recording forbids.
    pub valid: bool,
}

#[derive(Default)]
pub struct Stream {
    waiting: VecDeque<Work>,
    pub recording: Option<Recording>,
}

/// A moment: how often it was asked for, and the last one that has come.
pub struct Event {
    timed: bool,
    asked: u64,
    come: Option<(u64, Instant)>,
}

impl Event {
    fn has_come(&self) -> bool {
        self.asked == self.come.map_or(0, |(number, _)| number)
    }
}

impl State {
    /// Adds work to a stream, or to what it records.
    ///
    /// # Errors
    /// As [`State::usable`], and if another thread records or the recording is spoilt.
    pub fn enqueue(&mut self, stream: usize, work: Work) -> Answer {
        self.usable()?;
        let stream = known(self.streams.get_mut(&stream))?;
        let Some(recording) = &mut stream.recording else {
            stream.waiting.push_back(work);
            return Ok(());
        };
        recording.valid &= recording.thread == std::thread::current().id();
        if !recording.valid {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        recording.works.push(work);
        Ok(())
    }

    /// Runs what waits in a stream until it is empty or `enough` says so.
    ///
    /// # Errors
    /// The first failed kernel's, now and ever after.
    fn drain(&mut self, stream: usize, enough: impl Fn(&Self) -> bool) -> Answer {
        while self.failed.is_none() && !enough(self) {
            let Some(work) = self.streams.get_mut(&stream).and_then(|stream| stream.waiting.pop_front()) else { break };
            self.failed = self.run(&work).err();
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Runs all that waits.
    ///
    /// # Errors
    /// As a kernel that failed.
    pub fn drain_all(&mut self) -> Answer {
        let streams: Vec<usize> = self.streams.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| self.drain(stream, |_| false))
    }

    fn run(&mut self, work: &Work) -> Answer {
        match work {
            Work::Launch(launch) => return launch.run(self.settings.fails.as_deref()),
            Work::Fill { at, value, bytes } => {
                // SAFETY: checked when it was enqueued, and freeing memory drains the streams first.
                unsafe { std::ptr::with_exposed_provenance_mut::<u8>(*at).write_bytes(*value, *bytes) }
            }
            // SAFETY: as above for the device and for page-locked memory; other memory is the caller's promise.
            Work::Copy { from, to, bytes } => unsafe { copy(*from, *to, *bytes) },
            // SAFETY: as above for the device; the host's rows are the caller's promise.
            Work::Rows(rows) => unsafe { rows.copy() },
            Work::Mark { event, number } => {
                if let Some(event) = self.events.get_mut(event) {
                    event.come = Some((*number, Instant::now()));
                }
            }
        }
        Ok(())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(out: *mut usize, _flags: u32) -> CUresult {
    call("cuStreamCreate", |state| {
        state.plain()?;
        let handle = state.handle();
        state.streams.insert(handle, Stream::default());
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: usize) -> CUresult {
    call("cuStreamDestroy_v2", |state| {
        state.plain()?;
        state.drain(stream, |_| false)?;
        known(state.streams.remove(&stream)).map(drop)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: usize) -> CUresult {
    call("cuStreamSynchronize", |state| {
        state.plain()?;
        if let Some(recording) = &mut known(state.streams.get_mut(&stream))?.recording {
            recording.valid = false;
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        }
        state.drain(stream, |_| false)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(out: *mut usize, flags: u32) -> CUresult {
    call("cuEventCreate", |state| {
        state.plain()?;
        let handle = state.handle();
        // The flag CU_EVENT_DISABLE_TIMING.
        state.events.insert(handle, Event { timed: flags & 2 == 0, asked: 0, come: None });
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: usize, stream: usize) -> CUresult {
    call("cuEventRecord", |state| {
        state.plain()?;
        let known = known(state.events.get_mut(&event))?;
        known.asked += 1;
        let number = known.asked;
        state.enqueue(stream, Work::Mark { event, number })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(event: usize) -> CUresult {
    call("cuEventSynchronize", |state| {
        state.plain()?;
        known(state.events.get(&event))?;
        let has_come = |state: &State| state.events.get(&event).is_some_and(Event::has_come);
        let streams: Vec<usize> = state.streams.keys().copied().collect();
        streams.into_iter().try_for_each(|stream| state.drain(stream, has_come))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(out: *mut f32, first: usize, last: usize) -> CUresult {
    call("cuEventElapsedTime", |state| {
        state.usable()?;
        let moment = |event| {
            let event = known(state.events.get(&event)).ok().filter(|event| event.timed && event.has_come())?;
            event.come.map(|(_, moment)| moment)
        };
        let first = known(moment(first))?;
        let last = known(moment(last))?;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, 1e3 * last.duration_since(first).as_secs_f32()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: usize) -> CUresult {
    call("cuEventDestroy_v2", |state| {
        state.plain()?;
        known(state.events.remove(&event)).map(drop)
    })
}
