//! Why an evaluation cannot go on, as one sentence: what, where, and what to do.

use std::fmt;
use std::path::Path;

use med2e3_loaders::error::cannot_write;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Whose fault it was decides the variant.
#[derive(Debug)]
pub enum Error {
    /// What was asked does not fit what is there, such as the results of another run.
    Usage(String),
    /// A file that was given cannot be used.
    Input(String),
    /// Writing failed, or an invariant.
    Runtime(String),
    /// A file cannot be read.
    Loaders(med2e3_loaders::Error),
    /// The engine refused or failed.
    Engine {
        /// What it was about, such as an item; nothing where the error says enough.
        about: Option<String>,
        /// The engine's reason.
        error: med2e3::Error,
    },
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Input(message.into())
    }

    pub(crate) fn runtime(message: impl Into<String>) -> Self {
        Self::Runtime(message.into())
    }

    /// A file of ours that the system does not let us write.
    pub(crate) fn write(path: &Path, error: &std::io::Error) -> Self {
        Self::Runtime(cannot_write(path, error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Input(text) | Self::Runtime(text) => f.write_str(text),
            Self::Loaders(error) => error.fmt(f),
            Self::Engine { about: Some(about), error } => write!(f, "{about}: {error}"),
            Self::Engine { about: None, error } => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) | Self::Input(_) | Self::Runtime(_) => None,
            Self::Loaders(error) => Some(error),
            Self::Engine { error, .. } => Some(error),
        }
    }
}

impl From<med2e3_loaders::Error> for Error {
    fn from(error: med2e3_loaders::Error) -> Self {
        Self::Loaders(error)
    }
}

impl From<med2e3::Error> for Error {
    fn from(error: med2e3::Error) -> Self {
        Self::Engine { about: None, error }
    }
}
