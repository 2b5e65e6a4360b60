//! Ctrl-C: unfinished files are removed and the process ends with status 130.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::failure::Status;

/// Set before anything is removed.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Files and folders that are not finished yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handler. Where the system refuses one, Ctrl-C keeps its usual effect.
pub fn install() {
    let handler = || {
        INTERRUPTED.store(true, Ordering::SeqCst);
        // Locked to the end, so that nothing is begun any more.
        let begun = unfinished();
        begun.iter().for_each(|path| remove(path));
        std::process::exit(Status::Interrupted as i32);
    };
    let _ = ctrlc::set_handler(handler);
}

/// Once the handler runs, leaves the end of the process to it: work that fails because its files are being removed is
/// no failure.
pub fn settle() {
    while INTERRUPTED.load(Ordering::SeqCst) {
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
