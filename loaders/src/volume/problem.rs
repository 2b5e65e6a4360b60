//! Why bytes are not a volume, before anyone knows which file they came from.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// What is wrong with some bytes and what to do about it; the reader of the file adds its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file of a folder that is to blame, if it is one.
    pub file: Option<PathBuf>,
    /// What was found, with the value found and the value wanted.
    pub finding: String,
    /// What to do about it, as an imperative without a full stop.
    pub remedy: String,
    /// Where it was no content that was found, but the operating system that refused.
    refusal: Option<Refusal>,
}

/// What the operating system refused, and its number for the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusal {
    doing: &'static str,
    code: i32,
}

impl Problem {
    /// A problem of the bytes at hand.
    pub fn new(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { file: None, finding: finding.into(), remedy: remedy.into(), refusal: None }
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
        let refusal = error.raw_os_error().map(|code| Refusal { doing, code });
        Self { refusal, ..Self::cut_short(format!("cannot be read to its end ({error})")) }
    }

    /// The problem as the crate's error about `path`, or about the file blamed before.
    pub fn at(self, path: &Path) -> Error {
        let path = self.file.as_deref().unwrap_or(path);
        match self.refusal {
            Some(Refusal { doing, code }) => Error::io(path, doing, std::io::Error::from_raw_os_error(code)),
            None => Error::bad_input(path, self.finding, self.remedy),
        }
    }
}

impl From<std::io::Error> for Problem {
    /// Reading failed half-way: a cut or damaged stream, or the disk.
    fn from(error: std::io::Error) -> Self {
        Self::io("read", &error)
    }
}
