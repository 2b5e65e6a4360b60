//! Which device computes, and how exactly, for callers that leave the choice to the machine and the model.
use crate::Result;
use med2e3_kernels::{Cpu, Device, Emulation, Error, Gpu, Precision};
use med2e3_loaders::{DType, ModelFolder, Part};
use std::str::FromStr;
use std::sync::Arc;

/// Models up to this size are computed exactly unless the caller asks otherwise.
const SMALL_MODEL_BYTES: u64 = 256 << 20;

/// Where to compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// The first GPU if this build and this machine can use it, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A GPU, by the driver's number.
    Cuda(usize),
    /// The GPU's code on the processor.
    Emulated(Emulation),
}

impl FromStr for DeviceChoice {
    type Err = String;

    /// `auto`, `cpu`, `cuda`, `cuda:N`, `emulated`, `emulated:SEED`, `emulated:checked` or `emulated:SEED:checked`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wanted = "wanted auto, cpu, cuda, cuda:N, emulated, emulated:SEED or either with :checked";
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let parts: Vec<&str> = parts.collect();
        let number = |text: &str| text.parse().map_err(|_| wanted.to_owned());
        match (name, parts.as_slice()) {
            ("auto", []) => Ok(Self::Auto),
            ("cpu", []) => Ok(Self::Cpu),
            ("cuda", []) => Ok(Self::Cuda(0)),
            ("cuda", [ordinal]) => ordinal.parse().map(Self::Cuda).map_err(|_| wanted.to_owned()),
            ("emulated", []) => Ok(Self::Emulated(Emulation::default())),
            ("emulated", ["checked"]) => Ok(Self::Emulated(Emulation { seed: 0, checked: true })),
            ("emulated", [seed]) => Ok(Self::Emulated(Emulation { seed: number(seed)?, checked: false })),
            ("emulated", [seed, "checked"]) => Ok(Self::Emulated(Emulation { seed: number(seed)?, checked: true })),
            _ => Err(wanted.into()),
        }
    }
}

impl DeviceChoice {
    /// The GPU, real or emulated; `None` where the processor computes. No model is needed to ask, so that a GPU that
    /// cannot be used is known before anything is read.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the GPU that was chosen is not there or this build cannot use it.
    pub fn gpu(self) -> Result<Option<Arc<dyn Device>>> {
        match self {
            Self::Cpu => Ok(None),
            Self::Cuda(ordinal) => Ok(Some(Arc::new(Gpu::cuda(ordinal)?))),
            Self::Emulated(emulation) => Ok(Some(Arc::new(Gpu::try_emulated(emulation)?))),
            Self::Auto => match Gpu::cuda(0) {
                Ok(gpu) => Ok(Some(Arc::new(gpu))),
                Err(Error::Unavailable { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// The device for this model; the processor computes as `precision` says, or as [`suitable_precision`] does.
    ///
    /// # Errors
    /// As [`DeviceChoice::gpu`].
    pub fn open(self, precision: Option<Precision>, folder: &ModelFolder) -> Result<Arc<dyn Device>> {
        Ok(self.gpu()?.unwrap_or_else(|| cpu(precision, folder)))
    }
}

/// The processor, which computes as `precision` says, or as [`suitable_precision`] does.
pub fn cpu(precision: Option<Precision>, folder: &ModelFolder) -> Arc<dyn Device> {
    Arc::new(Cpu { precision: precision.unwrap_or_else(|| suitable_precision(folder)) })
}

/// Exact for f32 checkpoints, whose owner wants f32, and for models that are quick anyway; else fast.
pub fn suitable_precision(folder: &ModelFolder) -> Precision {
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
        let emulated = |seed, checked| Ok(DeviceChoice::Emulated(Emulation { seed, checked }));
        assert_eq!("emulated".parse(), emulated(0, false));
        assert_eq!("emulated:7".parse(), emulated(7, false));
        assert_eq!("emulated:checked".parse(), emulated(0, true));
        assert_eq!("emulated:7:checked".parse(), emulated(7, true));
        for bad in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", "cpu:1", "emulated:", "emulated:checked:7"] {
            assert!(bad.parse::<DeviceChoice>().is_err(), "{bad:?}");
        }
    }
}
