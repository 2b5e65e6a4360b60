//! What went wrong in a kernel, and where.
use crate::thread::{Thread, current};
use std::ffi::{CStr, c_char};
use std::fmt;

/// A place in kernel source; static text of the compiler.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    pub file: *const c_char,
    pub line: i32,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_null() {
            return f.write_str("an unknown line");
        }
        // SAFETY: `__builtin_FILE` gives static, terminated text.
        let path = unsafe { CStr::from_ptr(self.file) }.to_string_lossy();
        let short = path.rsplit_once("/src/").map_or(&*path, |(_, end)| end);
        write!(f, "{short}:{}", self.line)
    }
}

/// A defect of a kernel that stopped its launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    what: String,
    block: Option<[u32; 3]>,
    thread: Option<[u32; 3]>,
}

impl Fault {
    pub(crate) fn new(what: String) -> Self {
        Self { what, block: None, thread: None }
    }

    pub(crate) fn in_block(mut self, block: [u32; 3]) -> Self {
        self.block = Some(block);
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
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
pub(crate) unsafe fn stop(this: *mut Thread, mut fault: Fault) -> ! {
    // SAFETY: the thread and its block outlive the fiber, and only this OS thread touches them.
    unsafe {
        fault.thread = Some((*this).thread_idx);
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
