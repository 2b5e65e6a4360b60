//! The emulator in the place of the driver: host memory between red zones, launches that end before they return.
use super::Kernel;
use super::tape::Tape;
use crate::{Error, Mem, Result, Space};
use med2e3_simt::Grid;
use std::alloc::{Layout, alloc, dealloc};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Alignment of device memory, as the driver's.
const ALIGN: usize = 256;

/// Bytes before and after every allocation that no kernel may touch.
const RED_ZONE: usize = 256;

/// What the red zones hold.
const GUARD: u8 = 0xa5;

/// How kernels are emulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emulation {
    /// 0 runs threads in order; any other seed in an order of its own.
    pub seed: u64,
    /// Checks every memory access; about three times slower.
    pub checked: bool,
}

/// Memory that a kernel may use, between red zones.
struct Guarded {
    /// `None` only while it is dropped.
    block: Option<Block>,
    tape: Tape,
}

/// What [`Guarded`] owns.
pub(super) struct Block {
    base: *mut u8,
    layout: Layout,
    bytes: usize,
    /// Where its bytes are counted.
    room: Option<Arc<AtomicUsize>>,
}

// SAFETY: owns its bytes and looks at the red zones only when it is dropped.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Drop for Guarded {
    fn drop(&mut self) {
        let block = self.block.take().expect("dropped once");
        let start = block.base.addr() + RED_ZONE;
        self.tape.retire(start..start + block.bytes, block);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the block is ours, and every byte of the red zones was written when it was made.
        let intact = unsafe {
            let front = std::slice::from_raw_parts(self.base, RED_ZONE);
            let back = std::slice::from_raw_parts(self.base.add(RED_ZONE + self.bytes), RED_ZONE);
            front.iter().chain(back).all(|&byte| byte == GUARD)
        };
        med2e3_simt::forget_buffer(self.base.addr() + RED_ZONE);
        if let Some(room) = &self.room {
            room.fetch_add(self.bytes, Ordering::Relaxed);
        }
        // SAFETY: allocated with this layout, released once.
        unsafe { dealloc(self.base, self.layout) }
        assert!(intact || std::thread::panicking(), "a kernel wrote past a buffer of {} bytes", self.bytes);
    }
}

/// Zeroed memory between red zones, taken from `room` if that is counted.
pub(super) fn alloc_guarded(bytes: usize, space: Space, tape: &Tape, room: Option<Arc<AtomicUsize>>) -> Result<Mem> {
    if let Some(room) = &room {
        let take = |free: usize| free.checked_sub(bytes);
        room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|free| Error::Memory { wanted: bytes, free: Some(free) })?;
    }
    let Some((base, layout)) = zeroed(bytes) else {
        if let Some(room) = &room {
            room.fetch_add(bytes, Ordering::Relaxed);
        }
        return Err(Error::Memory { wanted: bytes, free: None });
    };
    let owner = Guarded { block: Some(Block { base, layout, bytes, room }), tape: tape.clone() };
    med2e3_simt::announce_buffer(base.addr() + RED_ZONE, bytes);
    // SAFETY: `owner` keeps exactly these bytes until it is dropped.
    Ok(unsafe { Mem::from_raw(base.add(RED_ZONE), bytes, space, true, Box::new(owner)) })
}

/// `bytes` zeros between two red zones, with their layout; `None` if the host has no such memory.
fn zeroed(bytes: usize) -> Option<(*mut u8, Layout)> {
    let layout = Layout::from_size_align(bytes.checked_add(2 * RED_ZONE)?, ALIGN).ok()?;
    // SAFETY: the layout is never empty; all bytes are written before anyone reads them.
    unsafe {
        let base = alloc(layout);
        if base.is_null() {
            return None;
        }
        base.write_bytes(GUARD, layout.size());
        base.add(RED_ZONE).write_bytes(0, bytes);
        Some((base, layout))
    }
}

/// # Safety
/// As [`super::Gpu::launch`].
pub(super) unsafe fn launch(emulation: Emulation, kernel: &Kernel, grid: Grid, params: &[u8]) -> Result<()> {
    let result = match emulation.checked {
        // SAFETY: as the caller promises.
        true => unsafe { med2e3_simt::launch_checked(kernel.name, kernel.checked, grid, params, emulation.seed) },
        // SAFETY: as above.
        false => unsafe { med2e3_simt::launch(kernel.plain, grid, params, emulation.seed) },
    };
    result.map_err(|fault| Error::Launch { kernel: kernel.name, detail: fault.to_string() })
}
