//! A block's shared memory: owned by the emulator, poisoned before each block, with red zones between arrays.
use crate::fault::{Fault, stop};
use crate::site::Site;
use crate::thread::current;
use std::ffi::{c_char, c_void};

/// Most shared memory that a block of sm_80 may use, 163 KiB, as a kernel sees it.
const BYTES_MAX: usize = 163 << 10;

/// Bytes after each array, so that an overrun is not another array's first element.
const RED_ZONE: usize = 256;

/// Room for the arrays and the red zones of most blocks; a block with more arrays has that much less memory.
const ROOM: usize = BYTES_MAX + 32 * RED_ZONE;

/// Arrays start on this boundary, and no two share what lies between two boundaries.
const ALIGN: usize = 128;

/// Fills memory that nobody wrote: a NaN in f32, f16 and bf16.
const POISON: u8 = 0xff;

/// A static array, or the launch's dynamic part.
pub(crate) struct Array {
    key: usize,
    pub start: usize,
    pub bytes: usize,
    /// Where it is declared; nowhere for the dynamic part.
    pub site: Option<Site>,
}

pub(crate) struct SharedMemory {
    // u128 for the alignment that 16-byte accesses need.
    memory: Vec<u128>,
    /// The first byte on an `ALIGN` boundary.
    base: *mut u8,
    /// Bytes handed out, red zones included.
    used: usize,
    /// Bytes handed out, as a GPU counts them.
    asked: usize,
    arrays: Vec<Array>,
    /// For each `ALIGN` bytes, the index of the array before or in them.
    owners: Vec<u8>,
}

impl SharedMemory {
    pub fn new() -> Self {
        let mut memory = vec![u128::MAX; (ROOM + ALIGN) / 16];
        let start = memory.as_mut_ptr().cast::<u8>();
        // SAFETY: the vector is `ALIGN` bytes longer than `ROOM`.
        let base = unsafe { start.add(start.align_offset(ALIGN)) };
        Self { memory, base, used: 0, asked: 0, arrays: Vec::new(), owners: vec![0; ROOM / ALIGN + 1] }
    }

    /// Forgets the last block; `dynamic` bytes are asked for by the launch.
    pub fn reset(&mut self, dynamic: usize) {
        let used = (self.used + ALIGN).div_ceil(16).min(self.memory.len());
        self.memory[..used].fill(u128::MAX);
        self.arrays.clear();
        (self.used, self.asked) = (0, 0);
        // Always the first array, so that it starts where all launches expect it.
        self.add(0, dynamic, None);
    }

    /// Most dynamic bytes that a launch may ask for.
    pub fn dynamic_max() -> usize {
        BYTES_MAX
    }

    /// The launch's dynamic part.
    pub fn dynamic(&self) -> *mut u8 {
        self.base
    }

    /// Bytes that a kernel could address, red zones included.
    pub fn room(&self) -> usize {
        ROOM
    }

    /// The offset of an address, if it lies here.
    #[inline]
    pub fn offset(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.base.addr());
        (offset < ROOM).then_some(offset)
    }

    /// The array at `offset`, or the one whose red zone that is; whether `bytes` there are all inside.
    #[inline]
    pub fn array(&self, offset: usize, bytes: usize) -> (&Array, bool) {
        let owner = if offset < self.used { self.owners[offset / ALIGN] as usize } else { self.arrays.len() - 1 };
        let array = &self.arrays[owner];
        (array, offset + bytes <= array.start + array.bytes)
    }

    fn add(&mut self, key: usize, bytes: usize, site: Option<Site>) -> Option<usize> {
        let start = self.used;
        let end = (start + bytes).next_multiple_of(ALIGN) + RED_ZONE;
        if self.asked + bytes > BYTES_MAX || end > ROOM || self.arrays.len() > usize::from(u8::MAX) {
            return None;
        }
        self.owners[start / ALIGN..end / ALIGN].fill(self.arrays.len() as u8);
        (self.used, self.asked) = (end, self.asked + bytes);
        self.arrays.push(Array { key, start, bytes, site });
        Some(start)
    }

    /// The static array that the declaration at `key` stands for, the same for all threads of the block.
    fn declare(&mut self, key: usize, bytes: usize, site: Site) -> Option<*mut u8> {
        let known = self.arrays[1..].iter().find(|array| array.key == key).map(|array| array.start);
        let start = known.or_else(|| self.add(key, bytes, Some(site)))?;
        // SAFETY: `add` keeps arrays inside `ROOM`.
        Some(unsafe { self.base.add(start) })
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
    let site = Site { file, line };
    // SAFETY: kernels call this from their fiber; the block is touched by this OS thread alone.
    unsafe {
        if align > ALIGN {
            stop(this, Fault::new(format!("a shared array on a {align}-byte boundary, at most {ALIGN}, at {site}")));
        }
        match (*(*this).block).shared.declare(key.addr(), bytes, site) {
            Some(address) => address.cast(),
            None => stop(this, Fault::new(format!("more than {BYTES_MAX} bytes of shared memory at {site}"))),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Arrays lie apart, in order, on their boundaries, and every byte of theirs can be written.
    #[test]
    fn arrays_are_apart() {
        let site = Site { file: c"a.cu".as_ptr(), line: 7 };
        let mut memory = SharedMemory::new();
        for dynamic in [0, 100] {
            memory.reset(dynamic);
            let arrays: Vec<*mut u8> = [4usize, 130, 1]
                .into_iter()
                .enumerate()
                .map(|(key, bytes)| {
                    let at = memory.declare(key + 1, bytes, site).expect("room");
                    assert!(at.addr().is_multiple_of(ALIGN));
                    // SAFETY: the array holds as many bytes.
                    unsafe { at.write_bytes(0x5a, bytes) };
                    let offset = memory.offset(at.addr()).expect("shared memory");
                    assert!(memory.array(offset, bytes).1 && !memory.array(offset, bytes + 1).1);
                    at
                })
                .collect();
            assert!(arrays.windows(2).all(|pair| pair[0].addr() + RED_ZONE <= pair[1].addr()));
            assert_eq!(memory.declare(2, 130, site), Some(arrays[1]), "the same for every thread");
        }
        assert_eq!(memory.declare(9, BYTES_MAX, site), None);
        assert_eq!(memory.offset(memory.dynamic().addr().wrapping_sub(1)), None);
        assert_eq!(memory.offset(memory.dynamic().addr() + memory.room()), None);
    }
}
