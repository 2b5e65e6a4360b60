//! Launches the kernels of `tests/cuda`.
#![allow(dead_code, reason = "each test file uses a part")]
use med2e3_simt::{Entry, Fault, Grid};

/// A kernel in both builds.
#[derive(Clone, Copy)]
pub struct Kernel {
    pub name: &'static str,
    pub plain: Entry,
    pub checked: Entry,
}

/// `kernel!(name)`: the kernel `name` of `tests/cuda`.
#[macro_export]
macro_rules! kernel {
    ($name:ident) => {{
        #[link(name = "planted_plain_kernels", kind = "static")]
        unsafe extern "C" {
            #[link_name = concat!("planted_plain_", stringify!($name))]
            fn plain(params: *const std::ffi::c_void);
        }
        #[link(name = "planted_checked_kernels", kind = "static")]
        unsafe extern "C" {
            #[link_name = concat!("planted_checked_", stringify!($name))]
            fn checked(params: *const std::ffi::c_void);
        }
        $crate::support::Kernel { name: stringify!($name), plain, checked }
    }};
}

/// The parameter block of planted.cuh.
#[repr(C)]
pub struct Params {
    pub a: *mut u8,
    pub b: *mut u8,
    pub fixed: u32,
    pub size: u32,
}

/// Bytes around a buffer, so that a defect that is not stopped breaks nothing.
const MARGIN: usize = 4096;

/// Zeroed device memory.
pub struct Buffer {
    memory: Vec<u128>,
    pub bytes: usize,
}

impl Buffer {
    pub fn new(bytes: usize) -> Self {
        let mut memory = vec![0u128; (bytes + 2 * MARGIN).div_ceil(16)];
        med2e3_simt::announce_buffer(memory.as_mut_ptr().addr() + MARGIN, bytes);
        Self { memory, bytes }
    }

    pub fn holding(words: &[u32]) -> Self {
        let mut buffer = Self::new(words.len() * 4);
        // SAFETY: as many bytes as were asked for, on a 16-byte boundary.
        unsafe { buffer.address().cast::<u32>().copy_from(words.as_ptr(), words.len()) };
        buffer
    }

    pub fn address(&mut self) -> *mut u8 {
        // SAFETY: the vector is longer than the margin.
        unsafe { self.memory.as_mut_ptr().cast::<u8>().add(MARGIN) }
    }

    pub fn words(&mut self) -> Vec<u32> {
        // SAFETY: the buffer holds these bytes, on a 16-byte boundary.
        unsafe { std::slice::from_raw_parts(self.address().cast::<u32>(), self.bytes / 4) }.to_vec()
    }

    /// Gives the memory back, as far as kernels are concerned.
    pub fn free(&mut self) {
        med2e3_simt::forget_buffer(self.address().addr());
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.free();
    }
}

/// One launch, checked or plain.
pub fn launch(kernel: Kernel, grid: Grid, params: &Params, seed: u64, checked: bool) -> Result<(), Fault> {
    // SAFETY: plain data without padding.
    let bytes = unsafe { std::slice::from_raw_parts((&raw const *params).cast::<u8>(), size_of::<Params>()) };
    // SAFETY: the kernels of tests/cuda take `Params`; their buffers have margins wider than their defects.
    unsafe {
        match checked {
            true => med2e3_simt::launch_checked(kernel.name, kernel.checked, grid, bytes, seed),
            false => med2e3_simt::launch(kernel.plain, grid, bytes, seed),
        }
    }
}

/// `blocks` blocks of `threads` threads.
pub fn grid(blocks: u32, threads: u32, shared_bytes: u32) -> Grid {
    Grid { blocks: [blocks, 1, 1], threads: [threads, 1, 1], shared_bytes }
}

/// The sources, for the lines that tests name.
const SOURCES: &[(&str, &str)] = &[
    ("cuda/bounds.cu", include_str!("../cuda/bounds.cu")),
    ("cuda/races.cu", include_str!("../cuda/races.cu")),
    ("cuda/copies.cu", include_str!("../cuda/copies.cu")),
    ("cuda/sync.cu", include_str!("../cuda/sync.cu")),
    ("cuda/undefined.cu", include_str!("../cuda/undefined.cu")),
];

/// `text` with each `@name` replaced by the file and line that end in `// @name`.
pub fn located(text: &str) -> String {
    let mut parts = text.split('@');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
        let marker = format!("// @{}", &part[..end]);
        let place = SOURCES.iter().find_map(|(file, source)| {
            source.lines().position(|line| line.ends_with(&marker)).map(|at| format!("{file}:{}", at + 1))
        });
        out += &place.unwrap_or_else(|| panic!("no line ends in {marker}"));
        out += &part[end..];
    }
    out
}
