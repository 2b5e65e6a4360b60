//! The one error type of the crate: one sentence that names the file, what was found, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::memory::OutOfMemory;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an input could not be used: its own fault, or the machine's, never a broken invariant of ours.
#[derive(Debug)]
pub enum Error {
    /// The content is not something we can use.
    BadInput {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was found, with the value found and the value wanted.
        finding: String,
        /// What the user can do about it, as an imperative without a full stop.
        remedy: String,
    },
    /// The operating system refused to read or write it.
    Io {
        /// The file or folder concerned.
        path: PathBuf,
        /// What was attempted: completes "cannot ...", e.g. "open", "read", "create".
        doing: &'static str,
        /// The operating system's reason.
        source: io::Error,
    },
    /// Memory ran out while it was read or prepared.
    OutOfMemory {
        /// The file or folder concerned.
        path: PathBuf,
        /// The allocation that failed.
        lack: OutOfMemory,
    },
}

impl Error {
    /// A [`Error::BadInput`] about `path`.
    pub fn bad_input(path: impl AsRef<Path>, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::BadInput { path: path.as_ref().to_path_buf(), finding: finding.into(), remedy: remedy.into() }
    }

    /// An [`Error::Io`] about `path`; `doing` completes "cannot ...".
    pub fn io(path: impl AsRef<Path>, doing: &'static str, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), doing, source }
    }

    /// An [`Error::OutOfMemory`] about `path`.
    pub(crate) fn out_of_memory(path: impl AsRef<Path>, lack: OutOfMemory) -> Self {
        Self::OutOfMemory { path: path.as_ref().to_path_buf(), lack }
    }

    /// The file or folder concerned.
    pub fn path(&self) -> &Path {
        match self {
            Self::BadInput { path, .. } | Self::Io { path, .. } | Self::OutOfMemory { path, .. } => path,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput { path, finding, remedy } => write!(f, "{}: {finding}; {remedy}", path.display()),
            Self::Io { path, doing, source } => {
                write!(f, "{}: cannot {doing}: {source}; check the path and its permissions", path.display())
            }
            Self::OutOfMemory { path, lack } => {
                let remedy = "free memory, raise the limit on it, or give a smaller file";
                write!(f, "{}: {lack}; {remedy}", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::BadInput { .. } | Self::OutOfMemory { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_names_file_finding_and_remedy() {
        let error = Error::bad_input("llm/model.safetensors", "holds 3 bytes, a header needs 8", "download it again");
        let want = "llm/model.safetensors: holds 3 bytes, a header needs 8; download it again";
        assert_eq!(error.to_string(), want);
        assert_eq!(error.path(), Path::new("llm/model.safetensors"));
    }

    #[test]
    fn an_io_error_keeps_the_systems_reason() {
        let error = Error::io("a.nii", "open", io::Error::new(io::ErrorKind::NotFound, "no such file"));
        assert_eq!(error.to_string(), "a.nii: cannot open: no such file; check the path and its permissions");
        assert!(std::error::Error::source(&error).is_some());
    }
}
