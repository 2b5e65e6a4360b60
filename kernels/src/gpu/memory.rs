//! Memory of a real GPU, and the two pinned buffers through which everything reaches it. Tested over a stand-in for the
//! driver only.
use super::convert::fill;
use super::driver::{Driver, Queue, failure};
use crate::{DType, Error, Mem, Result, Space};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::sync::Arc;

/// Bytes of one pinned buffer. While the GPU reads one, the other is filled.
const BUFFER_BYTES: usize = 16 << 20;

/// Bytes handed to the GPU at a time, so that it begins before a buffer is full.
const PIECE_BYTES: usize = 4 << 20;

/// Reads up to this size go through pinned memory, which spares the driver a copy of its own.
const LANDING_BYTES: usize = 64 << 10;

/// Device memory, released when it is dropped.
struct Allocation {
    driver: Arc<Driver>,
    address: sys::CUdeviceptr,
    bytes: usize,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let start = self.address as usize;
        let unused = self.driver.in_use().retire(start..start + self.bytes, self.address);
        release(&self.driver, unused);
    }
}

/// Frees memory that no graph uses. The driver waits for kernels that still do.
pub(super) fn release(driver: &Driver, unused: impl IntoIterator<Item = sys::CUdeviceptr>) {
    let bound = driver.bind().is_ok();
    for address in unused.into_iter().filter(|_| bound) {
        // SAFETY: came from cuMemAlloc and is freed once. A GPU that failed refuses; its memory ends with the process.
        let _ = unsafe { result::free_sync(address) };
    }
}

/// Zeroed device memory.
///
/// # Errors
/// [`Error::Memory`] with what is free if it is not enough.
pub(super) fn alloc(driver: &Arc<Driver>, bytes: usize, space: Space) -> Result<Mem> {
    let _queue = driver.enter("alloc", false)?;
    // SAFETY: the memory is written before anyone reads it. The driver refuses to allocate nothing.
    let address = unsafe { result::malloc_sync(bytes.max(1)) }.map_err(|error| match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { wanted: bytes, free: free_now() },
        _ => failure("alloc", error),
    })?;
    let owner = Allocation { driver: driver.clone(), address, bytes };
    // SAFETY: allocated above with this size.
    unsafe { result::memset_d8_async(address, 0, bytes.max(1), driver.stream) }
        .map_err(|error| failure("alloc", error))?;
    let addr = std::ptr::without_provenance_mut(address as usize);
    // SAFETY: `owner` keeps exactly these bytes until it is dropped; no view of them is ever read by Rust code.
    Ok(unsafe { Mem::from_raw(addr, bytes, space, true, Box::new(owner)) })
}

/// Bytes that the GPU has left.
pub(super) fn free_bytes(driver: &Driver) -> Option<usize> {
    driver.bind().ok()?;
    free_now()
}

fn free_now() -> Option<usize> {
    result::mem_get_info().ok().map(|(free, _)| free)
}

/// Page-locked host memory with an event after the last copy out of it.
struct Pinned {
    address: *mut u8,
    copied: sys::CUevent,
    /// Whether a copy may still read it.
    busy: bool,
}

impl Pinned {
    fn new(bytes: usize) -> std::result::Result<Self, DriverError> {
        let copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        // SAFETY: written before it is read. Without flags the memory is cached, so that the host reads it fast.
        let address = unsafe { result::malloc_host(bytes, 0) };
        let mut pinned = Self { address: std::ptr::null_mut(), copied, busy: false };
        pinned.address = address?.cast();
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: made above, released once; `Driver` waits for its stream before it drops them.
        unsafe {
            if !self.address.is_null() {
                let _ = result::free_host(self.address.cast());
            }
            let _ = result::event::destroy(self.copied);
        }
    }
}

/// Two buffers that are filled in turn, and one where short reads land.
pub(super) struct Staging {
    buffers: [Pinned; 2],
    landing: Pinned,
    /// The buffer being filled, and up to where.
    current: usize,
    used: usize,
}

impl Staging {
    fn new() -> std::result::Result<Self, DriverError> {
        let buffers = [Pinned::new(BUFFER_BYTES)?, Pinned::new(BUFFER_BYTES)?];
        Ok(Self { buffers, landing: Pinned::new(LANDING_BYTES)?, current: 0, used: 0 })
    }

    /// `bytes` pinned bytes that no copy reads, at most a piece of them.
    fn take(&mut self, bytes: usize, stream: sys::CUstream) -> std::result::Result<&mut [u8], DriverError> {
        if self.used + bytes > BUFFER_BYTES {
            // SAFETY: events and stream are ours.
            unsafe { result::event::record(self.buffers[self.current].copied, stream)? };
            self.buffers[self.current].busy = true;
            (self.current, self.used) = (1 - self.current, 0);
            let next = &mut self.buffers[self.current];
            if next.busy {
                // SAFETY: as above.
                unsafe { result::event::synchronize(next.copied)? };
                next.busy = false;
            }
        }
        let start = self.used;
        self.used = (start + bytes).next_multiple_of(64);
        // SAFETY: inside the buffer, and past all that copies under way read.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.buffers[self.current].address.add(start), bytes) })
    }
}

fn staging<'a>(queue: &'a mut Queue, op: &'static str) -> Result<&'a mut Staging> {
    if queue.staging.is_none() {
        queue.staging = Some(Staging::new().map_err(|error| match error.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::Memory { wanted: 2 * BUFFER_BYTES, free: None },
            _ => failure(op, error),
        })?);
    }
    Ok(queue.staging.as_mut().expect("made above"))
}

/// Copies elements to `to` in device memory, as `kinds[1]` where the host has `kinds[0]`. The host's bytes are read
/// before it returns; the GPU has them in the order of the stream.
///
/// # Safety
/// Device memory of that many elements begins at `to`.
pub(super) unsafe fn upload(driver: &Driver, to: u64, src: &[u8], kinds: [DType; 2]) -> Result<()> {
    let mut queue = driver.enter("copy_in", false)?;
    let staging = staging(&mut queue, "copy_in")?;
    let [from, into] = kinds.map(DType::bytes);
    let mut at = to;
    for piece in src.chunks(PIECE_BYTES / into.max(from) * from) {
        let bytes = piece.len() / from * into;
        let pinned = staging.take(bytes, driver.stream).map_err(|error| failure("copy_in", error))?;
        fill(pinned, piece, kinds);
        // SAFETY: inside the tensor, as the caller promises; `take` gives the bytes out again only after the copy.
        unsafe { result::memcpy_htod_async(at, pinned, driver.stream) }.map_err(|error| failure("copy_in", error))?;
        at += bytes as u64;
    }
    Ok(())
}

/// Rows in device memory.
pub(super) struct Rows {
    /// The first one's address.
    pub from: u64,
    /// Bytes of one.
    pub width: usize,
    /// Bytes from one to the next.
    pub stride: usize,
}

/// Waits for the stream and copies rows to the host, one after the other.
///
/// # Safety
/// As many rows as `dst` holds lie where `rows` says.
pub(super) unsafe fn download(driver: &Driver, rows: Rows, dst: &mut [u8]) -> Result<()> {
    let mut queue = driver.enter("copy_out", false)?;
    let short = dst.len() <= LANDING_BYTES;
    let landing = staging(&mut queue, "copy_out")?.landing.address;
    if !dst.is_empty() {
        let to = if short { landing } else { dst.as_mut_ptr() };
        // SAFETY: the rows as the caller promises; `dst` or the landing, which the lock keeps ours, holds all of them,
        // and is not touched before the wait below.
        unsafe { enqueue_download(driver, &rows, to, dst.len()) }.map_err(|error| failure("copy_out", error))?;
    }
    driver.wait(&queue)?;
    if short {
        // SAFETY: the copy has ended; the landing holds at least as many bytes.
        unsafe { landing.copy_to_nonoverlapping(dst.as_mut_ptr(), dst.len()) };
    }
    Ok(())
}

/// Copies `bytes` bytes of rows to the host. The driver limits how far rows may lie apart, so what has no gaps is no
/// rows.
///
/// # Safety
/// As [`download`]; nobody uses what begins at `to` before the stream has passed the copy.
unsafe fn enqueue_download(
    driver: &Driver,
    rows: &Rows,
    to: *mut u8,
    bytes: usize,
) -> std::result::Result<(), DriverError> {
    let height = bytes / rows.width;
    if rows.stride == rows.width || height == 1 {
        // SAFETY: as the caller promises.
        return unsafe { sys::cuMemcpyDtoHAsync_v2(to.cast(), rows.from, bytes, driver.stream) }.result();
    }
    let copy = sys::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcHost: std::ptr::null(),
        srcDevice: rows.from,
        srcArray: std::ptr::null_mut(),
        srcPitch: rows.stride,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        dstHost: to.cast(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        dstPitch: rows.width,
        WidthInBytes: rows.width,
        Height: height,
    };
    // SAFETY: as the caller promises.
    unsafe { sys::cuMemcpy2DAsync_v2(&copy, driver.stream) }.result()
}
