//! Why bytes are not a volume, before anyone knows which file they came from.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::memory::OutOfMemory;

/// What is wrong with some bytes and what to do about it; the reader of the file adds its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file of a folder that is to blame, if it is one.
    pub file: Option<PathBuf>,
    /// What was found, with the value found and the value wanted.
    pub finding: String,
    /// What to do about it, as an imperative without a full stop.
    pub remedy: String,
    /// Where it was not the content that was wrong.
    cause: Option<Cause>,
}

/// What stood in the way of reading the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// What the operating system refused, and its number for the reason.
    Refused { doing: &'static str, code: i32 },
    /// Memory that could not be had.
    OutOfMemory(OutOfMemory),
}

impl Problem {
    /// A problem of the bytes at hand.
    pub fn new(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: None, finding: finding.into(), remedy: remedy.into(), cause: None }
    }

    /// Bytes that end before what they promise: a cut download, most often.
    pub(crate) fn cut_short(finding: impl Into<String>) -> Self {
        Self::new(finding, "copy or download the file again")
    }

    /// A well-formed file that is not a volume we run.
    pub(crate) fn not_ours(finding: impl Into<String>) -> Self {
        Self::new(finding, "convert it to NIfTI with a tool that knows it, and give that file")
    }

    /// The same problem, blamed on one file of a folder (the first blame stays).
    pub(crate) fn blame(mut self, file: impl Into<PathBuf>) -> Self {
        self.file.get_or_insert_with(|| file.into());
        self
    }

    /// What the operating system says when a file or folder is to be opened, read or listed; `doing` as in
    /// [`Error::Io`]. An error that is not the system's is the content's: a stream that ends early or is damaged.
    pub(crate) fn io(doing: &'static str, error: &std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::OutOfMemory {
            // The system does not say how much was asked for.
            return OutOfMemory { bytes: None }.into();
        }
        let cause = error.raw_os_error().map(|code| Cause::Refused { doing, code });
        Self { cause, ..Self::cut_short(format!("cannot be read to its end ({error})")) }
    }

    #[cfg(feature = "dicom")]
    /// The name of the file to blame without its folder, and what was found there.
    pub(crate) fn named_finding(&self) -> String {
        format!("{} ({})", self.file.as_ref().map(super::names::name_of).unwrap_or_default(), self.finding)
    }

    #[cfg(feature = "dicom")]
    /// Whether it is not the bytes that are at fault, but memory that could not be had.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        matches!(self.cause, Some(Cause::OutOfMemory(_)))
    }

    /// The problem as the crate's error about `path`, or about the file blamed before.
    pub fn at(self, path: &Path) -> Error {
        let path = self.file.as_deref().unwrap_or(path);
        match self.cause {
            Some(Cause::Refused { doing, code }) => Error::io(path, doing, std::io::Error::from_raw_os_error(code)),
            Some(Cause::OutOfMemory(lack)) => Error::out_of_memory(path, lack),
            None => Error::bad_input(path, self.finding, self.remedy),
        }
    }
}

impl From<OutOfMemory> for Problem {
    fn from(lack: OutOfMemory) -> Self {
        Self {
            cause: Some(Cause::OutOfMemory(lack)),
            ..Self::new(format!("cannot be read: {lack}"), "free memory, or raise the limit on it")
        }
    }
}

impl From<std::io::Error> for Problem {
    /// Reading failed half-way: memory ran out, a cut or damaged stream, or the disk.
    fn from(error: std::io::Error) -> Self {
        Self::io("read", &error)
    }
}
