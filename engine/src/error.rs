//! Why the engine could not do what was asked.
use std::fmt;

/// The result of every engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault it was decides the variant: a file's, the device's, or the request's.
#[derive(Debug)]
pub enum Error {
    /// A file is missing, broken, or not what we run.
    Loaders(loaders::Error),
    /// The device refused or failed.
    Device(kernels::Error),
    /// The request cannot be answered by this model; the text says what to change.
    Request(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Loaders(error) => error.fmt(f),
            Error::Device(error) => error.fmt(f),
            Error::Request(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<loaders::Error> for Error {
    fn from(error: loaders::Error) -> Self {
        Error::Loaders(error)
    }
}

impl From<kernels::Error> for Error {
    fn from(error: kernels::Error) -> Self {
        Error::Device(error)
    }
}
