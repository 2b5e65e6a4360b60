//! Why a command ended, as one sentence and the process's exit status.

use std::fmt;
use std::process::ExitCode;

/// What every command returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// The exit statuses of a failed command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Something went wrong while running: the disk, memory, an invariant.
    Runtime = 1,
    /// The command line asks for something that makes no sense.
    Usage = 2,
    /// A file that the user gave cannot be used.
    Input = 3,
    /// The device asked for is not there.
    Device = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// A command's failure.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit status.
    pub status: Status,
    /// One sentence: what, where, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure while running.
    pub fn runtime(message: impl Into<String>) -> Self {
        Self { status: Status::Runtime, message: message.into() }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { status: Status::Usage, message: message.into() }
    }

    /// A bad input file.
    pub fn input(message: impl Into<String>) -> Self {
        Self { status: Status::Input, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<med2e3_loaders::Error> for Failure {
    fn from(error: med2e3_loaders::Error) -> Self {
        Self::from(&error)
    }
}

impl From<&med2e3_loaders::Error> for Failure {
    fn from(error: &med2e3_loaders::Error) -> Self {
        // What was given is opened, listed and read; anything else is done to files of our own.
        let given = ["open", "list", "read", "map into memory"];
        let status = match error {
            med2e3_loaders::Error::OutOfMemory { .. } => Status::Runtime,
            med2e3_loaders::Error::Io { doing, .. } if !given.contains(doing) => Status::Runtime,
            med2e3_loaders::Error::Io { .. } | med2e3_loaders::Error::BadInput { .. } => Status::Input,
        };
        Self { status, message: error.to_string() }
    }
}

impl From<med2e3::Error> for Failure {
    fn from(error: med2e3::Error) -> Self {
        match error {
            med2e3::Error::Loaders(error) => Self::from(&*error),
            med2e3::Error::Device(error) => error.into(),
            med2e3::Error::Request(message) => Self::input(message),
            error => Self::runtime(error.to_string()),
        }
    }
}

impl From<med2e3_eval::Error> for Failure {
    fn from(error: med2e3_eval::Error) -> Self {
        match error {
            med2e3_eval::Error::Usage(message) => Self::usage(message),
            med2e3_eval::Error::Input(message) => Self::input(message),
            med2e3_eval::Error::Runtime(message) => Self::runtime(message),
            med2e3_eval::Error::Loaders(error) => error.into(),
            med2e3_eval::Error::Engine { about, error } => {
                let failure = Self::from(error);
                let message = about.into_iter().chain([failure.message]).collect::<Vec<_>>().join(": ");
                Self { message, ..failure }
            }
        }
    }
}

impl From<med2e3_kernels::Error> for Failure {
    fn from(error: med2e3_kernels::Error) -> Self {
        let status = match &error {
            med2e3_kernels::Error::Unavailable { .. } => Status::Device,
            med2e3_kernels::Error::Contract { .. }
            | med2e3_kernels::Error::Memory { .. }
            | med2e3_kernels::Error::Launch { .. }
            | med2e3_kernels::Error::Differs { .. } => Status::Runtime,
        };
        Self { status, message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_error_has_its_status() {
        let io = || std::io::Error::other("no");
        let status = |failure: Failure| failure.status;
        assert_eq!(status(med2e3_loaders::Error::bad_input("a", "b", "c").into()), Status::Input);
        assert_eq!(status(med2e3_loaders::Error::io("a", "read", io()).into()), Status::Input);
        assert_eq!(status(med2e3_loaders::Error::io("a", "write", io()).into()), Status::Runtime);
        assert_eq!(status(med2e3_kernels::Error::Unavailable { detail: "x".into() }.into()), Status::Device);
        assert_eq!(status(med2e3_kernels::Error::Memory { wanted: 1, free: None }.into()), Status::Runtime);
        assert_eq!(status(med2e3::Error::NonFinite { stage: med2e3::Stage::Vision3d }.into()), Status::Runtime);
    }
}
