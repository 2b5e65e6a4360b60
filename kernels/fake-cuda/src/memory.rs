//! Device memory and page-locked memory: pages of the process, given back when they are freed.
use crate::state::State;
use crate::{Answer, call, give};
use cudarc::driver::sys::CUresult;
use memmap2::MmapMut;
use std::collections::BTreeMap;
use std::ffi::c_void;

/// What memory holds that nobody has written.
const UNWRITTEN: u8 = 0xcd;

/// Blocks by their addresses.
#[derive(Default)]
pub struct Blocks(BTreeMap<usize, MmapMut>);

impl Blocks {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Bytes of all.
    fn bytes(&self) -> usize {
        self.0.values().map(|block| block.len()).sum()
    }

    /// Whether all these bytes lie in one of them.
    pub fn hold(&self, at: usize, bytes: usize) -> bool {
        let below = self.0.range(..=at).next_back();
        below.is_some_and(|(start, block)| at.checked_add(bytes).is_some_and(|end| end <= start + block.len()))
    }

    fn make(&mut self, bytes: usize) -> Answer<usize> {
        if bytes == 0 {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        let mut block = MmapMut::map_anon(bytes).map_err(|_| CUresult::CUDA_ERROR_OUT_OF_MEMORY)?;
        block.fill(UNWRITTEN);
        let at = block.as_mut_ptr().expose_provenance();
        self.0.insert(at, block);
        Ok(at)
    }

    fn free(&mut self, at: usize) -> Answer {
        self.0.remove(&at).map(drop).ok_or(CUresult::CUDA_ERROR_INVALID_VALUE)
    }
}

/// Bytes of device memory that are left.
fn free(state: &State) -> usize {
    state.settings.memory - state.memory.bytes()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(out: *mut usize, bytes: usize) -> CUresult {
    call("cuMemAlloc_v2", |state| {
        state.plain()?;
        if bytes > free(state) {
            return Err(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        }
        let at = state.memory.make(bytes)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, at) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(at: usize) -> CUresult {
    call("cuMemFree_v2", |state| {
        state.plain()?;
        // As the driver does: kernels that may use it end first.
        state.drain_all()?;
        state.memory.free(at)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(left: *mut usize, total: *mut usize) -> CUresult {
    call("cuMemGetInfo_v2", |state| {
        state.usable()?;
        // SAFETY: as the driver's callers promise, both.
        unsafe { give(left, free(state)).and_then(|()| give(total, state.settings.memory)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(out: *mut *mut c_void, bytes: usize, _flags: u32) -> CUresult {
    call("cuMemHostAlloc", |state| {
        state.plain()?;
        let at = state.pinned.make(bytes)?;
        // SAFETY: as the driver's callers promise.
        unsafe { give(out, std::ptr::with_exposed_provenance_mut(at)) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(at: *mut c_void) -> CUresult {
    call("cuMemFreeHost", |state| {
        state.plain()?;
        state.drain_all()?;
        state.pinned.free(at.addr())
    })
}
