//! Why the engine could not do what was asked.
use crate::Stage;
use std::fmt;
use std::sync::Arc;

/// The result of every engine call.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault it was decides the variant: a file's, the device's, or the request's. Clones share what they hold, so
/// that one failure of the device reaches every question that was running.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file is missing, broken, or not what we run.
    Loaders(Arc<med2e3_loaders::Error>),
    /// The device refused or failed.
    Device(med2e3_kernels::Error),
    /// The request cannot be answered by this model; the text says what to change.
    Request(String),
    /// The volume was encoded by another engine: of another model, with other options, or on another device.
    Foreign,
    /// The queue is full, or every place for a volume is in use; the same call may succeed later.
    Busy {
        /// Questions that wait.
        waiting: usize,
    },
    /// The question's deadline passed before its answer ended.
    Deadline,
    /// The caller broke off.
    Cancelled,
    /// The engine was dropped.
    Stopped,
    /// The engine has failed in a way that it cannot go on from; the text says how.
    Failed(Arc<str>),
    /// A part of the model gave NaN or infinity, so the question has no answer.
    NonFinite {
        /// The first that did.
        stage: Stage,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Loaders(error) => error.fmt(f),
            Error::Device(error) => error.fmt(f),
            Error::Request(text) => f.write_str(text),
            Error::Foreign => {
                f.write_str("the volume was encoded by another engine; encode it with the engine that is asked")
            }
            Error::Busy { waiting } => {
                write!(f, "the engine is busy, and {waiting} questions wait; try again later")
            }
            Error::Deadline => f.write_str("the deadline passed before the answer ended; allow more time"),
            Error::Cancelled => f.write_str("the caller broke off"),
            Error::Stopped => f.write_str("the engine was dropped before the answer ended"),
            Error::Failed(detail) => write!(f, "the engine has failed and does no more: {detail}; load it again"),
            Error::NonFinite { stage } => write!(
                f,
                "{stage} gives NaN or infinity, so there is no answer; \
                 look for damaged weights with engine-cli inspect --model DIR --weights"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Loaders(error) => Some(&**error),
            Error::Device(error) => Some(error),
            _ => None,
        }
    }
}

impl From<med2e3_loaders::Error> for Error {
    fn from(error: med2e3_loaders::Error) -> Self {
        Error::Loaders(Arc::new(error))
    }
}

impl From<med2e3_kernels::Error> for Error {
    fn from(error: med2e3_kernels::Error) -> Self {
        Error::Device(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;

    /// The chain of sources leads to what the operating system said.
    #[test]
    fn sources_are_the_inner_errors() {
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let error = Error::from(med2e3_loaders::Error::io("a.nii", "open", missing()));
        let inner = error.source().expect("a loader's error").downcast_ref::<med2e3_loaders::Error>().expect("by type");
        let system = inner.source().and_then(|source| source.downcast_ref::<std::io::Error>()).expect("by type");
        assert_eq!(system.kind(), std::io::ErrorKind::NotFound);
        let device = Error::from(med2e3_kernels::Error::Memory { wanted: 5, free: None });
        let inner = device.source().and_then(|source| source.downcast_ref::<med2e3_kernels::Error>());
        assert!(matches!(inner, Some(med2e3_kernels::Error::Memory { wanted: 5, .. })));
        assert!(Error::Foreign.source().is_none() && Error::Request(String::new()).source().is_none());
    }
}
