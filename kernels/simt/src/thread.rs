//! One emulated CUDA thread: what C++ sees of it, and its asynchronous copies.
use crate::site::Site;
use corosensei::Yielder;
use std::ffi::c_void;

/// What `simt.h` reads through `simt_self`; the same layout as `SimtThread`.
#[repr(C)]
pub(crate) struct Thread {
    pub thread_idx: [u32; 3],
    pub block_idx: [u32; 3],
    pub block_dim: [u32; 3],
    pub grid_dim: [u32; 3],
    pub linear: u32,
    pub lane: u32,
    pub warp: u32,
    pub reserved: u32,
    pub dynamic_shared: *mut u8,
    /// The fiber's stack, which is private to it.
    pub stack_low: usize,
    pub stack_bytes: usize,
    // From here on the emulator's own.
    pub block: *mut crate::block::Block,
    pub yielder: *const Yielder<(), ()>,
    pub copies: Vec<AsyncCopy>,
    pub groups: Vec<usize>,
    pub open: usize,
}

/// A `cp.async` that was issued and not waited for.
#[derive(Clone, Copy)]
pub(crate) struct AsyncCopy {
    pub dst: *mut u8,
    pub src: *const u8,
    pub bytes: usize,
    pub src_bytes: usize,
    pub site: Site,
    /// When it was issued, in a checked launch.
    pub moment: u32,
    /// Whether the bytes are there already.
    pub landed: bool,
}

unsafe extern "C" {
    fn simt_self_slot() -> *mut *mut c_void;
}

/// The thread that runs on this OS thread; null outside a kernel.
pub(crate) fn current() -> *mut Thread {
    // SAFETY: the slot is a thread-local that lives as long as the OS thread.
    unsafe { (*simt_self_slot()).cast() }
}

/// Makes `thread` the one that kernels see.
pub(crate) fn set_current(thread: *mut Thread) {
    // SAFETY: as for `current`.
    unsafe { *simt_self_slot() = thread.cast() }
}

impl Thread {
    /// Before its first block.
    pub fn new() -> Self {
        Self {
            thread_idx: [0; 3],
            block_idx: [0; 3],
            block_dim: [0; 3],
            grid_dim: [0; 3],
            linear: 0,
            lane: 0,
            warp: 0,
            reserved: 0,
            dynamic_shared: std::ptr::null_mut(),
            stack_low: 0,
            stack_bytes: 0,
            block: std::ptr::null_mut(),
            yielder: std::ptr::null(),
            copies: Vec::new(),
            groups: Vec::new(),
            open: 0,
        }
    }

    /// Gives the OS thread back to the scheduler until this thread is ready again.
    ///
    /// # Safety
    /// `this` is the current thread, in its own fiber.
    pub unsafe fn suspend(this: *mut Self) {
        // SAFETY: the yielder lives on the fiber's stack for as long as the fiber runs.
        unsafe { (*(*this).yielder).suspend(()) }
    }
}
