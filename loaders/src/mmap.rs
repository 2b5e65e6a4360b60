//! Read-only memory maps of regular files, and what happens when such a file is cut short: the only unsafe code of this
//! crate.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use memmap2::Mmap;

use crate::error::{Error, Result};
use crate::sentence::sentence;

/// A file's bytes. They are whatever the file holds at the moment of reading: text must be copied before it is checked.
pub struct Mapped {
    map: Mmap,
    region: &'static Region,
    /// What `region` points at.
    _obituary: Box<str>,
}

/// Maps the whole of `path`, which must be a regular file (a pipe would block, a folder has no bytes).
pub fn map(path: &Path) -> Result<Arc<Mapped>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    if !metadata.is_file() {
        return Err(Error::bad_input(path, "is not a regular file", "give a file"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    // SAFETY: the map is read-only and private to this process's address space; it stays valid until dropped, for the
    // kernel keeps the file alive. The one hazard is another process that changes or truncates the file meanwhile.
    // A change gives other numbers: bytes of a map are only ever read as plain numbers, for which every bit pattern is
    // valid, or copied before anything is checked about them, as names are. A truncation is a bus error, which ends the
    // process ([`end_on_lost_bytes`] makes it say why). Copying 8 GB to rule that out is the cost this map avoids.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map into memory", e))?;
    let finding = "was cut short while it was in use, or its disk failed";
    let remedy = "leave the model's files alone while a command runs, and run it again";
    let obituary = format!("error: {}\n", sentence(&format!("{}: {finding}; {remedy}", path.display())));
    let obituary = obituary.into_boxed_str();
    let region = Region::register(&map, &obituary);
    Ok(Arc::new(Mapped { map, region, _obituary: obituary }))
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        self.region.end.store(0, Ordering::SeqCst);
    }
}

/// Where a map lies and what to say if its bytes go. Never freed, so that the signal's handler may walk the list at any
/// moment; one whose map is gone ends at 0 and is used again.
struct Region {
    start: AtomicUsize,
    end: AtomicUsize,
    text: AtomicPtr<u8>,
    text_length: AtomicUsize,
    next: Option<&'static Region>,
}

/// The regions, the newest first.
static REGIONS: AtomicPtr<Region> = AtomicPtr::new(ptr::null_mut());
/// Held while a region is made or taken.
static REGISTERING: Mutex<()> = Mutex::new(());

/// All regions. Takes no lock and allocates nothing.
fn regions() -> impl Iterator<Item = &'static Region> {
    // SAFETY: the pointer is null or comes from `Box::leak` in `register`, so what it points at is never freed, and all
    // that changes in it is atomic.
    let first: Option<&'static Region> = unsafe { REGIONS.load(Ordering::SeqCst).as_ref() };
    std::iter::successors(first, |region| region.next)
}

impl Region {
    fn register(map: &[u8], text: &str) -> &'static Self {
        let _registering = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
        let free = regions().find(|region| region.end.load(Ordering::SeqCst) == 0);
        let region = free.unwrap_or_else(|| {
            let region = Box::leak(Box::new(Self {
                start: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                text: AtomicPtr::new(ptr::null_mut()),
                text_length: AtomicUsize::new(0),
                next: regions().next(),
            }));
            REGIONS.store(region, Ordering::SeqCst);
            region
        });
        let range = map.as_ptr_range();
        region.text.store(text.as_ptr().cast_mut(), Ordering::SeqCst);
        region.text_length.store(text.len(), Ordering::SeqCst);
        region.start.store(range.start as usize, Ordering::SeqCst);
        // Last: from here on the region counts.
        region.end.store(range.end as usize, Ordering::SeqCst);
        region
    }
}

/// What a bus error did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// From now on a read of bytes that a mapped file has lost ends the process with status 1 and one sentence on stderr
/// that names the file. Any other bus error does what it did before. For programs: a library must not decide this.
pub fn end_on_lost_bytes() {
    // SAFETY: `sigaction` is a structure of numbers and nullable pointers, valid when zeroed; both pointers are to such
    // structures on this stack. The handler is async-signal-safe: it reads atomics and calls write, _exit, signal
    // and the handler before it. It runs on the alternate stack that Rust's runtime gives every thread.
    unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &mut before) != 0 || BEFORE.set(before).is_err() {
            return;
        }
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

extern "C" fn on_bus_error(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system calls this with a pointer to what it knows of the signal. A code above 0 says that the
    // processor raised it, and then there is an address.
    let address = unsafe { ((*info).si_code > 0).then(|| (*info).si_addr() as usize) };
    let is_lost = |region: &&Region| {
        let start = region.start.load(Ordering::SeqCst);
        let end = region.end.load(Ordering::SeqCst);
        address.is_some_and(|address| start <= address && address < end)
    };
    if let Some(region) = regions().find(is_lost) {
        let text = region.text.load(Ordering::SeqCst);
        let length = region.text_length.load(Ordering::SeqCst);
        // SAFETY: this thread reads the map, so the map's owner, which holds the text too, is alive.
        unsafe {
            libc::write(libc::STDERR_FILENO, text.cast(), length);
            libc::_exit(1);
        }
    }
    pass_on(signal, info, context);
}

/// Does what a bus error did before.
fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.get();
    let handler = before.map_or(libc::SIG_DFL, |before| before.sa_sigaction);
    // SAFETY: `handler` is what `sigaction` answered: one of the two constants, or the address of a handler that takes
    // three arguments exactly where its flags say so. Arguments are the system's own.
    unsafe {
        if handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            // The failed read is repeated when this returns, and ends the process.
            libc::signal(signal, libc::SIG_DFL);
        } else if before.is_some_and(|before| before.sa_flags & libc::SA_SIGINFO != 0) {
            type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
            std::mem::transmute::<usize, Handler>(handler)(signal, info, context);
        } else {
            std::mem::transmute::<usize, extern "C" fn(c_int)>(handler)(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Output};

    /// Tells the test below what to do in a process of its own.
    const ROLE: &str = "MED2E3_LOST_BYTES";

    #[test]
    fn a_folder_and_a_missing_file_are_errors() {
        let error = |path: &Path| map(path).map(|_| ()).unwrap_err().to_string();
        assert!(error(Path::new(env!("CARGO_MANIFEST_DIR"))).contains("not a regular file"));
        assert!(error(Path::new("no/such/file")).contains("cannot open"));
    }

    #[test]
    fn regions_are_used_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 3]).unwrap();
        let count = || regions().count();
        let maps: Vec<_> = (0..4).map(|_| map(file.path()).unwrap()).collect();
        let most = count();
        assert!(maps.iter().all(|map| map[..] == [7; 3]));
        drop(maps);
        // Other tests map too, at most a few files at a time.
        (0..100).for_each(|_| drop(map(file.path()).unwrap()));
        assert!(count() <= most + 4, "{} regions", count());
    }

    /// Run as a process of its own by the test below.
    #[test]
    fn loses_bytes() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 9000]).unwrap();
        end_on_lost_bytes();
        let ours = map(file.path()).unwrap();
        // SAFETY: as for `map`; the process is to die of it.
        let other = unsafe { Mmap::map(file.as_file()) }.unwrap();
        file.as_file().set_len(0).unwrap();
        let read = move || match role.as_str() {
            "ours" | "thread" => ours[8000],
            "dropped" => {
                drop(ours);
                other[8000]
            }
            _ => other[8000],
        };
        let value = match std::env::var(ROLE).as_deref() {
            Ok("thread") => std::thread::spawn(read).join().unwrap(),
            _ => read(),
        };
        std::hint::black_box(value);
        std::process::exit(77);
    }

    #[test]
    fn lost_bytes_of_a_map_end_with_a_sentence_and_others_as_before() {
        let run = |role: &str| -> Output {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["mmap::tests::loses_bytes", "--exact", "--nocapture"]).env(ROLE, role).output().unwrap()
        };
        for role in ["ours", "thread"] {
            let output = run(role);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{role}: {said}");
            assert!(said.contains("was cut short while it was in use") && said.lines().count() == 1, "{role}: {said}");
        }
        for role in ["other", "dropped"] {
            let output = run(role);
            assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{role}: {:?}", output.status);
        }
    }
}
