//! The emulator in the place of the driver: host memory between red zones, launches that end before they return.
use super::Emulation;
use super::backend::{Backend, Shared};
use super::convert::fill;
use super::kernel::{Grid, Kernel};
use super::tape::{Step, Tape};
use crate::{DType, Error, Graph, Mem, Result, Space, View, ViewMut};
use std::alloc::{Layout, alloc, dealloc};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Alignment of device memory, as the driver's.
const ALIGN: usize = 256;

/// Bytes before and after every allocation that no kernel may touch.
const RED_ZONE: usize = 256;

/// What the red zones hold.
const GUARD: u8 = 0xa5;

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
    let Some(twin) = &kernel.twin else {
        let detail = "runs on GPUs only, since the emulator has no twin of it".into();
        return Err(Error::Contract { op: kernel.name, detail });
    };
    let Grid { blocks, threads, shared_bytes } = grid;
    let grid = med2e3_simt::Grid { blocks, threads, shared_bytes };
    let result = match emulation.checked {
        // SAFETY: as the caller promises.
        true => unsafe { med2e3_simt::launch_checked(kernel.name, twin.checked, grid, params, emulation.seed) },
        // SAFETY: as above.
        false => unsafe { med2e3_simt::launch(twin.plain, grid, params, emulation.seed) },
    };
    result.map_err(|fault| Error::Launch { kernel: kernel.name, detail: fault.to_string() })
}

/// The emulator as a GPU's backend.
pub(super) struct Emulated {
    pub emulation: Emulation,
    pub tape: Tape,
    /// Bytes that are left, if they are counted.
    pub room: Option<Arc<AtomicUsize>>,
}

impl Emulated {
    /// # Safety
    /// As [`Step::run`].
    unsafe fn run(&self, step: Step) -> Result<()> {
        match self.tape.offer(step) {
            // SAFETY: as the caller promises.
            Some(step) => unsafe { step.run(self.emulation) },
            None => Ok(()),
        }
    }
}

impl Backend for Emulated {
    fn describe(&self) -> String {
        let Emulation { seed, checked } = self.emulation;
        format!("emulated GPU, seed {seed}, memory checks {}", if checked { "on" } else { "off" })
    }

    fn free_bytes(&self) -> Option<usize> {
        self.room.as_ref().map(|room| room.load(Ordering::Relaxed))
    }

    fn note_use(&self, bytes: Range<usize>) {
        self.tape.note(bytes);
    }

    fn alloc(&self, bytes: usize, space: Space) -> Result<Mem> {
        self.tape.idle("alloc")?;
        alloc_guarded(bytes, space, &self.tape, self.room.clone())
    }

    unsafe fn upload(&self, dst: &mut ViewMut<'_>, src: &[u8], from: DType) -> Result<()> {
        self.tape.idle("copy_in")?;
        let bytes = dst.dims().count() * dst.dtype().bytes();
        let into = dst.dtype();
        // SAFETY: the tensor holds `bytes` bytes of the emulator's host memory, uniquely borrowed.
        fill(unsafe { std::slice::from_raw_parts_mut(dst.addr(), bytes) }, src, [from, into]);
        Ok(())
    }

    unsafe fn download(&self, src: &View<'_>, dst: &mut [u8]) -> Result<()> {
        self.tape.idle("copy_out")?;
        let bytes = src.dtype().bytes();
        let width = src.dims().as_slice().last().copied().unwrap_or(1) * bytes;
        for (row, dst) in dst.chunks_exact_mut(width.max(1)).enumerate() {
            // SAFETY: row by row inside the view, which is emulated, that is host, memory.
            unsafe { src.addr().add(row * src.stride() * bytes).copy_to(dst.as_mut_ptr(), width) }
        }
        Ok(())
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, params: &[u8]) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { self.run(Step::of(kernel, grid, params)) }
    }

    fn time(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        enqueue().map(|()| start.elapsed())
    }

    fn record(&self, shared: Shared, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Graph>> {
        self.tape.record(self.emulation, shared, enqueue)
    }

    unsafe fn poison(&self, workspace: &mut ViewMut<'_>, bytes: usize) -> Result<()> {
        let at = workspace.addr().expose_provenance();
        // SAFETY: the emulator's memory is the host's, used by the calling op alone, as the caller promises; launches
        // have ended.
        unsafe { self.run(Step::Poison { at, bytes }) }
    }
}
