//! Ctrl-C and its relatives: unfinished files are removed and the process ends with 128 and the signal's number.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Set before anything is removed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The result is whole: no signal takes it back.
static WHOLE: AtomicBool = AtomicBool::new(false);
/// Files and folders that are not finished yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What a command does at the first Ctrl-C or TERM in the place of ending.
static INSTEAD: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread that waits for signals. Where the system refuses one, they keep their usual effect; so does a
/// signal that the parent process had ignored, as `nohup` does.
pub fn install() {
    // A limit on the size of files is then an error of the write, which names the file and removes what was begun.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let wanted: Vec<i32> = wanted.collect();
    let (ready, installed) = mpsc::channel();
    let wait = move || {
        let signals = Signals::new(wanted);
        let _ = ready.send(());
        signals.into_iter().for_each(|mut signals| signals.forever().for_each(end));
    };
    if std::thread::Builder::new().name("signals".into()).spawn(wait).is_ok() {
        let _ = installed.recv();
    }
}

/// Ends the process because of `signal`, unless the result is whole.
fn end(signal: i32) {
    // The process's status, by the shell's convention.
    const SIGNALLED: i32 = 128;
    let instead = INSTEAD.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(instead) = instead.filter(|_| signal != SIGHUP) {
        return instead();
    }
    INTERRUPTED.store(true, Ordering::SeqCst);
    // Locked to the end, so that nothing is begun any more.
    let begun = unfinished();
    if WHOLE.load(Ordering::SeqCst) {
        return;
    }
    begun.iter().for_each(|path| remove(path));
    std::process::exit(SIGNALLED + signal);
}

/// Whether the process was started with `signal` ignored; Linux says it as a mask in hexadecimal digits.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

/// The result is whole and told: from here on a signal changes neither files nor the status.
pub fn finish() {
    WHOLE.store(true, Ordering::SeqCst);
}

/// Has the first Ctrl-C or TERM do this in the place of ending the process; the second ends it.
#[cfg(feature = "server")]
pub fn instead(work: impl FnOnce() + Send + 'static) {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(work));
}

/// Once a signal ends the process, leaves that to it: work that fails because its files were removed is not reported.
pub fn settle() {
    while INTERRUPTED.load(Ordering::SeqCst) && !WHOLE.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Removes a file or folder that may be growing still: the work goes on until the process ends. What cannot be removed
/// stays; there is no one left to tell.
fn remove(path: &Path) {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        if removed.is_ok() {
            return;
        }
    }
}

/// Does `work`, which should be short, before Ctrl-C or never: where it makes folders, none comes back after it was
/// removed.
pub fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _begun = unfinished();
    work()
}

/// While it lives, Ctrl-C removes the path.
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Makes a temporary file or folder and registers it, [`undisturbed`]. What is made must go first.
    ///
    /// # Errors
    /// As `make`.
    pub fn make<T: AsRef<Path>>(make: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<(Self, T)> {
        let mut all = unfinished();
        let made = make()?;
        let path = made.as_ref().to_path_buf();
        all.push(path.clone());
        Ok((Self(path), made))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().retain(|path| *path != self.0);
    }
}
