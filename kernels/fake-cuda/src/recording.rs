//! Work that a stream records, and graphs of it.
use crate::state::known;
use crate::stream::Recording;
use crate::{call, give};
use cudarc::driver::sys::CUresult;

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(stream: usize, _mode: u32) -> CUresult {
    call("cuStreamBeginCapture_v2", |state| {
        state.plain()?;
        let stream = known(state.streams.get_mut(&stream))?;
        if stream.recording.is_some() {
            return Err(CUresult::CUDA_ERROR_ILLEGAL_STATE);
        }
        stream.recording = Some(Recording { thread: std::thread::current().id(), works: Vec::new(), valid: true });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: usize, out: *mut usize) -> CUresult {
    call("cuStreamEndCapture", |state| {
        state.usable()?;
        let recording = &mut known(state.streams.get_mut(&stream))?.recording;
        match recording {
            None => return Err(CUresult::CUDA_ERROR_ILLEGAL_STATE),
            Some(own) if own.thread == std::thread::current().id() => {}
            Some(_) => return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD),
        }
        let Some(Recording { works, valid: true, .. }) = recording.take() else {
            return Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
        };
        let handle = state.handle();
        state.graphs.insert(handle, works.into());
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(out: *mut usize, graph: usize, _flags: u64) -> CUresult {
    call("cuGraphInstantiateWithFlags", |state| {
        state.plain()?;
        let works = known(state.graphs.get(&graph))?.clone();
        let handle = state.handle();
        state.executables.insert(handle, works);
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, handle) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(executable: usize, stream: usize) -> CUresult {
    call("cuGraphLaunch", |state| {
        state.plain()?;
        let works = known(state.executables.get(&executable))?.clone();
        works.iter().try_for_each(|work| state.enqueue(stream, work.clone()))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphDestroy(graph: usize) -> CUresult {
    call("cuGraphDestroy", |state| known(state.graphs.remove(&graph)).map(drop))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(executable: usize) -> CUresult {
    call("cuGraphExecDestroy", |state| known(state.executables.remove(&executable)).map(drop))
}
