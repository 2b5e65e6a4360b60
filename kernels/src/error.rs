//! What can go wrong at the boundary between model and device.
use std::fmt;

/// The result of every device call.
pub type Result<T> = std::result::Result<T, Error>;

/// One convention for all devices and ops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A tensor's rank, one dim or its element type contradicts the op's contract.
    Contract {
        /// The op that refused.
        op: &'static str,
        /// Which tensor, what was found and what was wanted.
        detail: String,
    },
    /// Device memory ran out.
    Memory {
        /// Bytes asked for.
        wanted: usize,
        /// Bytes that were left, where the device knows.
        free: Option<usize>,
    },
    /// A kernel failed; the device runs nothing more.
    Launch {
        /// The entry point.
        kernel: &'static str,
        /// What the driver or the emulator said.
        detail: String,
    },
    /// An op's result is not the CPU's; only [`crate::Shadow`] compares.
    Differs {
        /// The op.
        op: &'static str,
        /// Which element of which tensor, what was found and what was wanted.
        detail: String,
    },
    /// The device does not run here.
    Unavailable {
        /// Why, and what to do.
        detail: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Contract { op, detail } | Error::Differs { op, detail } => write!(f, "{op}: {detail}"),
            Error::Memory { wanted, free: None } => write!(f, "the device could not allocate {wanted} bytes"),
            Error::Memory { wanted, free: Some(free) } => {
                write!(f, "the GPU could not allocate {wanted} bytes, {free} are free; ")?;
                f.write_str("end other programs that use it, choose another GPU, or use --device cpu")
            }
            Error::Launch { kernel, detail } => {
                write!(f, "{kernel}: {detail}; the device runs nothing more, start anew")
            }
            Error::Unavailable { detail } => f.write_str(detail),
        }
    }
}

impl std::error::Error for Error {}
