//! `cp.async`: bytes that land when they are waited for, or, under half of the seeds, at once.
use crate::check::{Request, check};
use crate::fault::{Fault, stop};
use crate::meter;
use crate::shadow::Access;
use crate::shared::poison;
use crate::site::{Place, Site};
use crate::thread::{AsyncCopy, Thread, current};
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

/// The two accesses of a copy: what it writes, as `access`, and what it reads.
///
/// # Safety
/// `this` is the current thread.
unsafe fn check_both(this: *mut Thread, copy: &AsyncCopy, access: Access) -> Result<(), Fault> {
    let place = Place::Source(copy.site);
    // SAFETY: as the caller promises.
    unsafe {
        let thread = (*this).linear;
        let name = "cp.async write";
        let address = copy.dst.addr();
        let bytes = copy.bytes;
        let write = Request { name, access, address, bytes, thread, place, align: 1 };
        check(this, write)?;
        let is_new = access == Access::Issue;
        if is_new {
            meter::note(this, write);
        }
        if copy.src_bytes == 0 {
            return Ok(());
        }
        let name = "cp.async read";
        let address = copy.src.addr();
        let bytes = copy.src_bytes;
        let read = Request { name, access: Access::Read, address, bytes, thread, place, align: 1 };
        if let (Access::Land, Some(checker)) = (access, &(*(*this).block).checker)
            && let Some(what) = checker.source_changed(read, copy.moment)
        {
            return Err(Fault::new(what));
        }
        if is_new {
            meter::note(this, read);
        }
        check(this, read)
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
    let site = Site { file, line };
    let bytes = bytes as usize;
    let src_bytes = src_bytes as usize;
    let aligned = dst.addr().is_multiple_of(bytes) && src.addr().is_multiple_of(bytes);
    // SAFETY: kernels call this from their fiber with addresses that they may access.
    unsafe {
        let block = &mut *(*this).block;
        let refuse = |what| stop(this, Fault::new(format!("cp.async {what} at {site}")));
        if !aligned {
            refuse(format!("with an address that is not on a {bytes}-byte boundary"));
        }
        if src_bytes > bytes {
            refuse(format!("of {src_bytes} bytes to {bytes}"));
        }
        if block.shared.offset(dst.addr()).is_none() {
            refuse("to memory that is not shared".to_owned());
        }
        if src_bytes > 0 && block.shared.offset(src.addr()).is_some() {
            refuse("from shared memory".to_owned());
        }
        let moment = block.checker.as_mut().map_or(0, |checker| checker.issue_moment());
        let landed = block.copies_land_early;
        let copy = AsyncCopy { dst, src, bytes, src_bytes, site, moment, landed };
        if let Err(fault) = check_both(this, &copy, Access::Issue) {
            stop(this, fault);
        }
        if landed {
            land(copy);
        } else {
            poison(dst, bytes);
        }
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
unsafe extern "C" fn simt_copy_wait(keep: u32, file: *const c_char, line: i32) {
    let this = current();
    // SAFETY: kernels call this from their fiber; the thread is its own. The ranges of its copies were valid at issue,
    // and the kernel may not reuse them before this wait.
    unsafe {
        if (*(*this).block).skips(Site { file, line }) {
            return;
        }
        let groups = (*this).groups.len().saturating_sub(keep as usize);
        let done: usize = (*this).groups.drain(..groups).sum();
        let copies: Vec<AsyncCopy> = (*this).copies.drain(..done).collect();
        for copy in copies {
            if !copy.landed {
                land(copy);
            }
            if let Err(fault) = check_both(this, &copy, Access::Land) {
                stop(this, fault);
            }
        }
    }
}
