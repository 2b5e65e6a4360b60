//! Copies and fills, checked against the blocks when they are enqueued.
use crate::call;
use crate::stream::Work;
use cudarc::driver::sys::{CUDA_MEMCPY2D, CUmemorytype, CUresult};
use std::ffi::c_void;

/// The most that rows may lie apart.
const PITCH_MAX: usize = i32::MAX as usize;

/// Rows copied from device memory to the host.
#[derive(Clone, Copy)]
pub struct Rows {
    from: usize,
    from_pitch: usize,
    to: usize,
    to_pitch: usize,
    width: usize,
    height: usize,
}

impl Rows {
    /// # Safety
    /// All rows can be read and written.
    pub unsafe fn copy(self) {
        for row in 0..self.height {
            let from = self.from + row * self.from_pitch;
            let to = self.to + row * self.to_pitch;
            // SAFETY: as the caller promises; blocks and the host's memory do not overlap.
            unsafe { copy(from, to, self.width) }
        }
    }
}

/// # Safety
/// As many bytes can be read there and written here, and are not the same.
pub unsafe fn copy(from: usize, to: usize, bytes: usize) {
    let from = std::ptr::with_exposed_provenance::<u8>(from);
    let to = std::ptr::with_exposed_provenance_mut(to);
    // SAFETY: as the caller promises.
    unsafe { from.copy_to_nonoverlapping(to, bytes) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(at: usize, value: u8, bytes: usize, stream: usize) -> CUresult {
    call("cuMemsetD8Async", |state| {
        if !state.memory.hold(at, bytes) {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        state.enqueue(stream, Work::Fill { at, value, bytes })
    })
}

/// Refuses memory that is not page-locked: ours copies from no other.
#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(to: usize, from: *const c_void, bytes: usize, stream: usize) -> CUresult {
    call("cuMemcpyHtoDAsync_v2", |state| {
        let from = from.addr();
        if !state.memory.hold(to, bytes) || !state.pinned.hold(from, bytes) {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        state.enqueue(stream, Work::Copy { from, to, bytes })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: usize, bytes: usize, stream: usize) -> CUresult {
    call("cuMemcpyDtoHAsync_v2", |state| {
        state.plain()?;
        if !state.memory.hold(from, bytes) {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        let to = to.expose_provenance();
        state.enqueue(stream, Work::Copy { from, to, bytes })
    })
}

/// From device memory to the host only.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpy2DAsync_v2(copy: *const CUDA_MEMCPY2D, stream: usize) -> CUresult {
    // SAFETY: as the driver's callers promise.
    let copy = unsafe { *copy };
    call("cuMemcpy2DAsync_v2", |state| {
        state.plain()?;
        let rows = Rows {
            from: copy.srcDevice as usize,
            from_pitch: copy.srcPitch,
            to: copy.dstHost.expose_provenance(),
            to_pitch: copy.dstPitch,
            width: copy.WidthInBytes,
            height: copy.Height,
        };
        let pitches = [rows.from_pitch, rows.to_pitch];
        let down = copy.srcMemoryType == CUmemorytype::CU_MEMORYTYPE_DEVICE
            && copy.dstMemoryType == CUmemorytype::CU_MEMORYTYPE_HOST;
        let fits = pitches.iter().all(|&pitch| (rows.width..=PITCH_MAX).contains(&pitch));
        let bytes = rows.height.saturating_sub(1) * rows.from_pitch + rows.width;
        if !down || !fits || rows.height == 0 || !state.memory.hold(rows.from, bytes) {
            return Err(CUresult::CUDA_ERROR_INVALID_VALUE);
        }
        state.enqueue(stream, Work::Rows(rows))
    })
}
