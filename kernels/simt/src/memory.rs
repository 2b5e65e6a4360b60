//! Where kernels may read and write.
use std::ffi::{c_char, c_void};

/// An atomic operation is about to touch `bytes` at `address`.
#[unsafe(no_mangle)]
unsafe extern "C" fn simt_atomic_access(_address: *const c_void, _bytes: u32, _file: *const c_char, _line: i32) {}

/// Kernels may use `bytes` at `address` from now on.
pub fn announce_buffer(_address: usize, _bytes: usize) {}

/// The buffer at `address` is gone.
pub fn forget_buffer(_address: usize) {}

macro_rules! hooks {
    ($($read:ident $write:ident)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $read(_address: *const c_void) {}
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $write(_address: *const c_void) {}
    )*};
}
hooks! {
    __tsan_read1 __tsan_write1
    __tsan_read2 __tsan_write2
    __tsan_read4 __tsan_write4
    __tsan_read8 __tsan_write8
    __tsan_read16 __tsan_write16
    __tsan_unaligned_read2 __tsan_unaligned_write2
    __tsan_unaligned_read4 __tsan_unaligned_write4
    __tsan_unaligned_read8 __tsan_unaligned_write8
    __tsan_unaligned_read16 __tsan_unaligned_write16
}
#[unsafe(no_mangle)]
unsafe extern "C" fn __tsan_read_range(_address: *const c_void, _bytes: usize) {}
#[unsafe(no_mangle)]
unsafe extern "C" fn __tsan_write_range(_address: *const c_void, _bytes: usize) {}
#[unsafe(no_mangle)]
unsafe extern "C" fn __tsan_init() {}
