//! The one error type of the crate: one sentence that names the file, what was found, and what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::memory::OutOfMemory;
use crate::sentence::sentence;

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
    /// One sentence, in the bounds of [`sentence`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::BadInput { path, finding, remedy } => format!("{}: {finding}; {remedy}", path.display()),
            Self::Io { path, doing, source } => {
                format!("{}: cannot {doing}: {source}; {}", path.display(), remedy(source.kind()))
            }
            Self::OutOfMemory { path, lack } => {
                let remedy = "free memory, raise the limit on it, or give a smaller file";
                format!("{}: {lack}; {remedy}", path.display())
            }
        };
        f.write_str(&sentence(&text))
    }
}

/// What the user can do about an operating system's reason, as an imperative without a full stop.
pub fn remedy(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "the disk is full: make room, or give a place on another disk"
        }
        io::ErrorKind::FileTooLarge => {
            "files may not grow so long here: raise the limit (ulimit -f), or write elsewhere"
        }
        io::ErrorKind::UnexpectedEof => "leave the file alone while it is in use, and run this again",
        _ => "check the path and its permissions",
    }
}

/// The sentence about a file of ours that the system does not let us write.
pub fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("{}: cannot be written: {error}; {}", path.display(), remedy(error.kind()))
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

    #[test]
    fn a_full_disk_is_called_full() {
        let error = Error::io("out.npy", "write", io::Error::from(io::ErrorKind::StorageFull)).to_string();
        assert!(error.starts_with("out.npy: cannot write: ") && error.contains("; the disk is full"), "{error}");
    }

    #[test]
    fn whatever_a_file_holds_the_sentence_is_short_and_on_one_line() {
        let error = Error::bad_input("a\nb\u{1b}[31m.nii", format!("has {}", "9".repeat(100_000)), "copy it again");
        let text = error.to_string();
        assert!(text.starts_with("a\\nb\\u{1b}[31m.nii: has 99") && text.ends_with("99; copy it again"), "{text}");
        assert_eq!(text.chars().count(), crate::sentence::SENTENCE_CHARS_MAX);
    }
}
