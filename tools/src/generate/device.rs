//! `--device` and `--precision`.

use std::str::FromStr;
use std::sync::Arc;

use clap::ValueEnum;
use kernels::{Cpu, Device, Precision};
use loaders::{DType, ModelFolder, Part};

use crate::failure::{Failure, Result};

/// Models up to this size are computed exactly unless the user asks otherwise.
const SMALL_MODEL_BYTES: u64 = 256 << 20;

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best device that this build and machine have.
    Auto,
    /// The processor.
    Cpu,
    /// A GPU, by its number.
    Cuda(u32),
    /// The GPU's code on the processor.
    Emulated,
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "emulated" => Ok(Self::Emulated),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| "wanted auto, cpu, cuda, cuda:N or emulated".into()),
        }
    }
}

/// How the processor computes large products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// Never round an activation
    Exact,
    /// Inputs of large products may be rounded to bf16
    Fast,
}

impl DeviceChoice {
    /// Refuses, before anything is read, a device that this build does not have.
    pub fn check(self) -> Result<()> {
        let name = match self {
            Self::Auto | Self::Cpu => return Ok(()),
            Self::Cuda(number) => format!("cuda:{number}"),
            Self::Emulated => "emulated".into(),
        };
        Err(Failure::device(format!("this build has no device {name} yet; use --device cpu")))
    }

    /// The device itself, with the precision that suits the model unless one is chosen.
    pub fn open(self, precision: Option<PrecisionChoice>, folder: &ModelFolder) -> Result<Arc<dyn Device>> {
        self.check()?;
        let precision = match precision {
            Some(PrecisionChoice::Exact) => Precision::Exact,
            Some(PrecisionChoice::Fast) => Precision::Fast,
            None => suitable(folder),
        };
        Ok(Arc::new(Cpu { precision }))
    }
}

/// Exact for f32 checkpoints, whose owner wants f32, and for models that are quick anyway.
fn suitable(folder: &ModelFolder) -> Precision {
    let parts = || Part::ALL.into_iter().filter_map(|part| folder.part(part));
    let bytes: u64 = parts().map(|part| part.total_bytes()).sum();
    let all_f32 = parts().all(|part| part.iter().all(|(_, tensor)| tensor.dtype == DType::F32));
    if all_f32 || bytes <= SMALL_MODEL_BYTES { Precision::Exact } else { Precision::Fast }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_named_exactly() {
        assert_eq!("cuda:3".parse(), Ok(DeviceChoice::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad:?}");
        }
    }
}
