//! `cp.async`: bytes that land when they are waited for, or, under half of the seeds, at once.
use crate::fault::{Fault, Site, stop};
use crate::shared::poison;
use crate::thread::{AsyncCopy, current};
use std::ffi::c_char;

/// Copies `src_bytes` and zeroes the rest.
///
/// # Safety
/// Both ranges are valid, as the kernel promised by issuing the copy.
unsafe fn land(copy: AsyncCopy) {
    // SAFETY: as the caller promises; zero-filled copies read nothing.
    unsafe {
        copy.src.copy_to(copy.dst, copy.src_bytes);
        copy.dst.add(copy.src_bytes).write_bytes(0, copy.bytes - copy.src_bytes);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_copy_issue(
    dst: *mut u8,
    src: *const u8,
    bytes: u32,
    src_bytes: u32,
    file: *const c_char,
    line: i32,
) {
    let this = current();
    let (bytes, src_bytes) = (bytes as usize, src_bytes as usize);
    let aligned = dst.addr().is_multiple_of(bytes) && src.addr().is_multiple_of(bytes);
    // SAFETY: kernels call this from their fiber with addresses that they may access.
    unsafe {
        if !aligned || src_bytes > bytes {
            let site = Site { file, line };
            let what =
                format!("cp.async of {src_bytes} of {bytes} bytes from {src:p} to {dst:p}: misaligned at {site}");
            stop(this, Fault::new(what));
        }
        let copy = AsyncCopy { dst, src, bytes, src_bytes };
        if (*(*this).block).copies_land_early {
            return land(copy);
        }
        poison(dst, bytes);
        (*this).copies.push(copy);
        (*this).open += 1;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_copy_commit() {
    // SAFETY: kernels call this from their fiber; the thread is its own.
    let this = unsafe { &mut *current() };
    this.groups.push(std::mem::take(&mut this.open));
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_copy_wait(keep: u32, _file: *const c_char, _line: i32) {
    // SAFETY: as for `simt_copy_commit`.
    let this = unsafe { &mut *current() };
    let groups = this.groups.len().saturating_sub(keep as usize);
    let done: usize = this.groups.drain(..groups).sum();
    for copy in this.copies.drain(..done) {
        // SAFETY: the ranges were valid at issue, and the kernel may not reuse them before this wait.
        unsafe { land(copy) }
    }
}
