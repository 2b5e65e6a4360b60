//! Ctrl-C: unfinished files are removed and the process ends with status 130.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::failure::Status;

/// Files and folders that are not finished yet.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

fn unfinished() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handler. Where the system refuses one, Ctrl-C keeps its usual effect.
pub fn install() {
    let handler = || {
        for path in unfinished().iter() {
            // Whatever cannot be removed stays; there is no one left to tell.
            let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        }
        std::process::exit(Status::Interrupted as i32);
    };
    let _ = ctrlc::set_handler(handler);
}

/// While it lives, Ctrl-C removes the path.
pub struct Unfinished(PathBuf);

impl Unfinished {
    /// Registers a temporary file or folder.
    pub fn new(path: &Path) -> Self {
        unfinished().push(path.to_path_buf());
        Self(path.to_path_buf())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        unfinished().retain(|path| *path != self.0);
    }
}
