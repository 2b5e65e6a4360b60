//! The checked build: every access is looked up, compared with what happened there before, and noted.
use crate::clock::Clock;
use crate::fault::{Fault, coordinates, stop};
use crate::memory;
use crate::meter;
use crate::shadow::{self, Access, Conflict, Mark, Shadow, mark};
use crate::shared::SharedMemory;
use crate::site::{Place, Sites};
use crate::thread::{Thread, current};
use std::collections::HashSet;
use std::ffi::c_void;
use std::ops::Range;

/// Granularity at which constants are remembered.
const PAGE: usize = 1 << 12;

/// A global buffer that the launch has used.
struct Buffer {
    start: usize,
    bytes: usize,
    shadow: Shadow,
}

/// One access, by one thread.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// What reports call it.
    pub name: &'static str,
    pub access: Access,
    pub address: usize,
    pub bytes: usize,
    pub thread: u32,
    pub place: Place,
    /// Wanted of the address; 1 for none.
    pub align: usize,
}

/// What a checked launch knows of memory.
pub(crate) struct Checker {
    pub clock: Clock,
    shared: Shadow,
    buffers: Vec<Buffer>,
    /// The buffer of the last access.
    last: usize,
    sites: Sites,
    /// Pages of the program that kernels have read: its constants.
    constants: HashSet<usize>,
    params: Range<usize>,
    /// The first moment of each block, and the block.
    blocks: Vec<(u32, [u32; 3])>,
    threads: [u32; 3],
}

unsafe extern "C" {
    fn simt_in_program(address: *const c_void) -> i32;
}

/// Where an address lies, for a report.
enum Home<'a> {
    Shared(&'a SharedMemory),
    Buffer(usize),
}

impl Checker {
    pub fn new(shared: &SharedMemory) -> Self {
        Self {
            clock: Clock::default(),
            shared: Shadow::new(shared.room(), true),
            buffers: Vec::new(),
            last: 0,
            sites: Sites::new(),
            constants: HashSet::new(),
            params: 0..0,
            blocks: Vec::new(),
            threads: [1; 3],
        }
    }

    /// Forgets the last launch. Buffers may have been freed and others announced in their place.
    pub fn begin_launch(&mut self, params: &[u8], threads: [u32; 3]) {
        self.buffers.clear();
        self.blocks.clear();
        (self.last, self.threads) = (0, threads);
        self.params = params.as_ptr().addr()..params.as_ptr().addr() + params.len();
    }

    /// Forgets the last block's shared memory.
    pub fn begin_block(&mut self, block: [u32; 3]) {
        self.clock.begin_block(self.threads.iter().product::<u32>() as usize);
        self.shared.begin_block();
        self.blocks.push((self.clock.first, block));
    }

    /// Checks and notes an access; says what is wrong with it.
    #[inline]
    pub fn access(&mut self, shared: &SharedMemory, request: Request) -> Result<(), String> {
        let Request { access, address, bytes, thread, .. } = request;
        if address & (request.align - 1) != 0 {
            return Err(misaligned(shared, request));
        }
        let site = self.sites.number(request.place);
        let me = mark(self.clock.now, thread, site);
        if let Some(offset) = shared.offset(address) {
            if !shared.array(offset, bytes).1 {
                return Err(outside_shared(shared, request, offset));
            }
            let touched = self.shared.touch(offset, bytes, access, me, &self.clock);
            return touched.map_err(|(at, conflict)| self.explain(Home::Shared(shared), request, at, conflict));
        }
        if self.params.contains(&address) && address + bytes <= self.params.end && access == Access::Read {
            return Ok(());
        }
        let Some(index) = self.buffer(address, bytes) else {
            return self.elsewhere(request);
        };
        let buffer = &mut self.buffers[index];
        let touched = buffer.shadow.touch(address - buffer.start, bytes, access, me, &self.clock);
        touched.map_err(|(at, conflict)| self.explain(Home::Buffer(index), request, at, conflict))
    }

    /// The buffer that holds `bytes` at `address`.
    #[inline]
    fn buffer(&mut self, address: usize, bytes: usize) -> Option<usize> {
        let holds = |buffer: &Buffer| {
            let offset = address.wrapping_sub(buffer.start);
            offset < buffer.bytes && bytes <= buffer.bytes - offset
        };
        if self.buffers.get(self.last).is_some_and(holds) {
            return Some(self.last);
        }
        let index = match self.buffers.iter().position(holds) {
            Some(index) => index,
            None => self.open(address, bytes)?,
        };
        self.last = index;
        Some(index)
    }

    /// Meets a buffer for the first time.
    #[cold]
    fn open(&mut self, address: usize, bytes: usize) -> Option<usize> {
        let (start, len) = memory::find(address)?;
        if bytes > len - (address - start) {
            return None;
        }
        self.buffers.push(Buffer { start, bytes: len, shadow: Shadow::new(len, false) });
        Some(self.buffers.len() - 1)
    }

    /// An access to neither shared nor global memory nor parameters: constants may be read.
    #[cold]
    fn elsewhere(&mut self, request: Request) -> Result<(), String> {
        let Request { address, bytes, .. } = request;
        if request.access == Access::Read {
            let page = address / PAGE;
            if self.constants.contains(&page) {
                return Ok(());
            }
            // SAFETY: looks the address up in the list of loaded objects.
            if unsafe { simt_in_program(address as *const c_void) } != 0 {
                self.constants.insert(page);
                return Ok(());
            }
        }
        Err(format!("{request} is out of bounds: {}", memory::describe_stray(address, bytes)))
    }

    #[cold]
    fn explain(&self, home: Home<'_>, request: Request, at: usize, conflict: Conflict) -> String {
        let place = match home {
            Home::Shared(shared) => shared_place(shared, at),
            Home::Buffer(index) => format!("byte {at} of a buffer of {} bytes", self.buffers[index].bytes),
        };
        let races = |what: &str, mark| format!("{request} races with the {what} {}: {place}", self.by(mark));
        match conflict {
            Conflict::Unset => format!("{request} finds what nobody wrote: {place}"),
            Conflict::Write(mark) => races("write", mark),
            Conflict::Read(mark) => races("read", mark),
            Conflict::Atomic(mark) => races("atomic", mark),
            Conflict::Flight(mark) => {
                format!("{request} meets a cp.async in flight, issued {}: {place}", self.by(mark))
            }
        }
    }

    /// Where and by whom a mark was made.
    fn by(&self, mark: Mark) -> String {
        let [x, y, z] = coordinates(shadow::thread(mark), self.threads);
        let site = self.sites.place(shadow::site(mark));
        let (first, [bx, by, bz]) =
            self.blocks[self.blocks.partition_point(|&(first, _)| first <= shadow::moment(mark)) - 1];
        let block = if first == self.clock.first { String::new() } else { format!(" of block ({bx}, {by}, {bz})") };
        format!("at {site} by thread ({x}, {y}, {z}){block}")
    }

    /// A moment of its own for the `cp.async` that is about to be issued.
    pub fn issue_moment(&mut self) -> u32 {
        self.clock.tick();
        self.clock.now
    }

    /// Whether the source of a `cp.async` issued at `since` was overwritten; says so.
    pub fn source_changed(&self, request: Request, since: u32) -> Option<String> {
        let Request { address, bytes, .. } = request;
        let index = self.buffers.iter().position(|buffer| address.wrapping_sub(buffer.start) < buffer.bytes)?;
        let buffer = &self.buffers[index];
        let (at, mark) = buffer.shadow.written_since(address - buffer.start, bytes, since)?;
        let by = self.by(mark);
        let len = buffer.bytes;
        Some(format!("{request} was in flight during the write {by}: byte {at} of a buffer of {len} bytes"))
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} bytes at {}", self.name, self.bytes, self.place)
    }
}

/// The name of a byte of shared memory.
fn shared_place(shared: &SharedMemory, offset: usize) -> String {
    let (array, _) = shared.array(offset, 0);
    let at = offset - array.start;
    match array.site {
        Some(site) => format!("byte {at} of the shared array of {} bytes of {site}", array.bytes),
        None => format!("byte {at} of {} bytes of dynamic shared memory", array.bytes),
    }
}

#[cold]
fn misaligned(shared: &SharedMemory, request: Request) -> String {
    let place = match (shared.offset(request.address), memory::find(request.address)) {
        (Some(offset), _) => shared_place(shared, offset),
        (_, Some((start, len))) => format!("byte {} of a buffer of {len} bytes", request.address - start),
        _ => format!("{:#x}", request.address),
    };
    format!("{request} wants a multiple of {}: {place}", request.align)
}

#[cold]
fn outside_shared(shared: &SharedMemory, request: Request, offset: usize) -> String {
    let (array, _) = shared.array(offset, 0);
    let gap = (offset - array.start).saturating_sub(array.bytes);
    let what = match array.site {
        Some(site) => format!("the shared array of {} bytes of {site}", array.bytes),
        None => format!("{} bytes of dynamic shared memory", array.bytes),
    };
    format!("{request} is out of bounds: {gap} bytes past the end of {what}")
}

/// Checks an access that the emulator makes for `thread` of the current block; gives the fault.
///
/// # Safety
/// `this` is the current thread.
pub(crate) unsafe fn check(this: *mut Thread, request: Request) -> Result<(), Fault> {
    // SAFETY: the block outlives its threads, and only this OS thread touches it.
    unsafe {
        let block = &mut *(*this).block;
        let Some(checker) = &mut block.checker else { return Ok(()) };
        let checked = checker.access(&block.shared, request);
        checked.map_err(|what| Fault::new(what).by_thread(request.thread, (*this).block_dim))
    }
}

/// The compiler's hooks come here with what is not private to a thread.
#[unsafe(no_mangle)]
unsafe extern "C" fn simt_access(address: usize, bytes: u64, kind: u32, aligned: u32, pc: usize) {
    let this = current();
    let bytes = bytes as usize;
    let (name, access) = if kind == 0 { ("read", Access::Read) } else { ("write", Access::Write) };
    let align = if aligned != 0 { bytes } else { 1 };
    // SAFETY: hooks are called by kernels, from their fiber.
    unsafe {
        let thread = (*this).linear;
        let request = Request { name, access, address, bytes, thread, place: Place::Code(pc), align };
        meter::note(this, request);
        if let Err(fault) = check(this, request) {
            stop(this, fault);
        }
    }
}

/// An atomic operation is about to touch `bytes` at `address`.
#[unsafe(no_mangle)]
unsafe extern "C" fn simt_atomic_access(address: usize, bytes: u32, file: *const std::ffi::c_char, line: i32) {
    let this = current();
    let bytes = bytes as usize;
    let place = Place::Source(crate::site::Site { file, line });
    // SAFETY: kernels call this from their fiber.
    unsafe {
        let thread = (*this).linear;
        let access = Access::Atomic;
        let request = Request { name: "atomic", access, address, bytes, thread, place, align: bytes };
        meter::note(this, request);
        if let Err(fault) = check(this, request) {
            stop(this, fault);
        }
    }
}
