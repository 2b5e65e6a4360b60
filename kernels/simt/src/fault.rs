//! What went wrong in a kernel, and where.
use crate::site::Site;
use crate::thread::{Thread, current};
use std::ffi::{CStr, c_char};
use std::fmt;

/// A defect of a kernel that stopped its launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    what: String,
    kernel: Option<String>,
    block: Option<[u32; 3]>,
    thread: Option<[u32; 3]>,
}

impl Fault {
    pub(crate) fn new(what: String) -> Self {
        Self { what, kernel: None, block: None, thread: None }
    }

    pub(crate) fn in_kernel(mut self, name: &str) -> Self {
        self.kernel = Some(name.to_owned());
        self
    }

    pub(crate) fn in_block(mut self, block: [u32; 3]) -> Self {
        self.block = Some(block);
        self
    }

    /// By a thread of a block of `dims`; a fault keeps its first thread.
    pub(crate) fn by_thread(mut self, linear: u32, dims: [u32; 3]) -> Self {
        self.thread.get_or_insert(coordinates(linear, dims));
        self
    }
}

/// A thread's index along x, y, z.
pub(crate) fn coordinates(linear: u32, [x, y, _]: [u32; 3]) -> [u32; 3] {
    [linear % x, linear / x % y, linear / (x * y)]
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(kernel) = &self.kernel {
            write!(f, ", in {kernel}")?;
        }
        let part = |f: &mut fmt::Formatter<'_>, name: &str, at: Option<[u32; 3]>| match at {
            Some([x, y, z]) => write!(f, ", {name} ({x}, {y}, {z})"),
            None => Ok(()),
        };
        part(f, "block", self.block)?;
        part(f, "thread", self.thread)
    }
}

impl std::error::Error for Fault {}

/// Records the first fault of the block and never returns to the kernel.
///
/// # Safety
/// `this` is the current thread, in its own fiber.
pub(crate) unsafe fn stop(this: *mut Thread, fault: Fault) -> ! {
    // SAFETY: the thread and its block outlive the fiber, and only this OS thread touches them.
    unsafe {
        let fault = fault.by_thread((*this).linear, (*this).block_dim);
        (*(*this).block).fault.get_or_insert(fault);
        loop {
            Thread::suspend(this);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_trap(what: *const c_char, file: *const c_char, line: i32) {
    // SAFETY: kernels pass static text and call this from their fiber.
    unsafe {
        let what = CStr::from_ptr(what).to_string_lossy();
        stop(current(), Fault::new(format!("{what} at {}", Site { file, line })));
    }
}
