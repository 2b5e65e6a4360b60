//! A block's shared memory: owned by the emulator, poisoned before each block.
use crate::fault::{Fault, Site, stop};
use crate::thread::current;
use std::collections::HashMap;
use std::ffi::{c_char, c_void};

/// Most shared memory that a block of sm_80 may use, 163 KiB, as a kernel sees it.
const BYTES_MAX: usize = 163 << 10;

/// Bytes between two static arrays, so that an overrun is not another array's first element.
const RED_ZONE: usize = 64;

/// Fills memory that nobody wrote: a NaN in f32, f16 and bf16.
const POISON: u8 = 0xff;

pub(crate) struct SharedMemory {
    // u128 for the alignment that 16-byte accesses need.
    memory: Vec<u128>,
    dynamic: usize,
    used: usize,
    statics: HashMap<usize, usize>,
}

impl SharedMemory {
    pub fn new() -> Self {
        Self { memory: vec![u128::MAX; BYTES_MAX / 16], dynamic: 0, used: 0, statics: HashMap::new() }
    }

    /// Forgets the last block; `dynamic` bytes are asked for by the launch.
    pub fn reset(&mut self, dynamic: usize) {
        let used = self.used.div_ceil(16).min(self.memory.len());
        self.memory[..used].fill(u128::MAX);
        self.statics.clear();
        (self.dynamic, self.used) = (dynamic, dynamic.next_multiple_of(RED_ZONE) + RED_ZONE);
    }

    /// Most dynamic bytes that a launch may ask for.
    pub fn dynamic_max() -> usize {
        BYTES_MAX - 2 * RED_ZONE
    }

    /// The launch's dynamic part.
    pub fn dynamic(&mut self) -> *mut u8 {
        self.memory.as_mut_ptr().cast()
    }

    /// The static array that the declaration at `key` stands for, the same for all threads of the block.
    fn declare(&mut self, key: usize, bytes: usize, align: usize) -> Option<*mut u8> {
        let used = &mut self.used;
        let offset = *self.statics.entry(key).or_insert_with(|| {
            let offset = used.next_multiple_of(align.max(16));
            *used = offset + bytes + RED_ZONE;
            offset
        });
        // SAFETY: stays inside the vector, as compared.
        (offset + bytes <= BYTES_MAX).then(|| unsafe { self.memory.as_mut_ptr().cast::<u8>().add(offset) })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_static_shared(
    key: *const c_void,
    bytes: usize,
    align: usize,
    file: *const c_char,
    line: i32,
) -> *mut c_void {
    let this = current();
    // SAFETY: kernels call this from their fiber; the block is touched by this OS thread alone.
    unsafe {
        match (*(*this).block).shared.declare(key.addr(), bytes, align) {
            Some(address) => address.cast(),
            None => stop(
                this,
                Fault::new(format!("more than {BYTES_MAX} bytes of shared memory at {}", Site { file, line })),
            ),
        }
    }
}

/// Poisons memory that a copy in flight will fill.
///
/// # Safety
/// `address` holds `bytes` writable bytes.
pub(crate) unsafe fn poison(address: *mut u8, bytes: usize) {
    // SAFETY: as the caller promises.
    unsafe { address.write_bytes(POISON, bytes) }
}
