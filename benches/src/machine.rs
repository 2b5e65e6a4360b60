//! The device that a program is to time, and what is known of it.
use med2e3_kernels::gpu::gpus;
use med2e3_kernels::{Cpu, Device, Emulation, Error, Gpu, GpuReport, Precision, Result};
use serde_json::{Value, json};

/// A device that timings can name: `exact`, `fast`, `cuda`, `cuda:N` or `emulated`.
pub enum Machine {
    /// The processor.
    Cpu(Precision),
    /// A GPU, by its number.
    Cuda(usize),
    /// The emulator, whose times mean nothing: it shows that a program runs.
    Emulated,
}

impl Machine {
    /// The one that the words of a command line name, taken out of them; the processor, exact, without any.
    ///
    /// # Errors
    /// [`Error::Unavailable`] for a number that is none.
    pub fn of(words: &mut Vec<String>) -> Result<Self> {
        let is_machine = |word: &String| ["exact", "fast", "emulated"].contains(&&**word) || word.starts_with("cuda");
        let Some(at) = words.iter().position(is_machine) else { return Ok(Self::Cpu(Precision::Exact)) };
        let word = words.remove(at);
        match word.as_str() {
            "exact" => Ok(Self::Cpu(Precision::Exact)),
            "fast" => Ok(Self::Cpu(Precision::Fast)),
            "emulated" => Ok(Self::Emulated),
            "cuda" => Ok(Self::Cuda(0)),
            other => match other.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
                Some(ordinal) => Ok(Self::Cuda(ordinal)),
                None => {
                    Err(Error::Unavailable { detail: format!("there is no device {other}; wanted cuda or cuda:N") })
                }
            },
        }
    }

    /// Starts it.
    ///
    /// # Errors
    /// As [`Gpu::cuda`].
    pub fn open(&self) -> Result<Box<dyn Device>> {
        Ok(match *self {
            Self::Cpu(precision) => Box::new(Cpu { precision }),
            Self::Cuda(ordinal) => Box::new(Gpu::cuda(ordinal)?),
            Self::Emulated => Box::new(Gpu::emulated(Emulation::default())),
        })
    }

    /// What the driver says of the GPU now.
    pub fn gpu(&self) -> Option<GpuReport> {
        let Self::Cuda(ordinal) = *self else { return None };
        gpus().ok()?.into_iter().find(|gpu| gpu.ordinal == ordinal)
    }

    /// The device, and its clocks, power and temperature now, where the driver tells them.
    pub fn describe(&self, device: &dyn Device) -> Value {
        let gpu = self.gpu();
        let gpu = gpu.as_ref();
        json!({
            "device": device.describe(),
            "driver": gpu.and_then(|gpu| gpu.driver.clone()),
            "multiprocessors": gpu.map(|gpu| gpu.multiprocessors),
            "clock_max_mhz": gpu.map(|gpu| gpu.clock_max_mhz),
            "clock_mhz": gpu.and_then(|gpu| gpu.clock_mhz),
            "memory_clock_mhz": gpu.and_then(|gpu| gpu.memory_clock_mhz),
            "power_watts": gpu.and_then(|gpu| gpu.power_watts),
            "temperature_celsius": gpu.and_then(|gpu| gpu.temperature_celsius),
            "throttled_by": gpu.and_then(|gpu| gpu.throttled_by.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_devices() {
        let of = |words: &[&str]| {
            let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Machine::of(&mut words).map(|machine| (machine, words.len()))
        };
        assert!(matches!(of(&[]), Ok((Machine::Cpu(Precision::Exact), 0))));
        assert!(matches!(of(&["decode", "fast"]), Ok((Machine::Cpu(Precision::Fast), 1))));
        assert!(matches!(of(&["cuda", "linear"]), Ok((Machine::Cuda(0), 1))));
        assert!(matches!(of(&["cuda:3"]), Ok((Machine::Cuda(3), 0))));
        assert!(matches!(of(&["emulated"]), Ok((Machine::Emulated, 0))));
        for bad in ["cuda:", "cuda:x", "cudas"] {
            assert!(of(&[bad]).is_err(), "{bad}");
        }
    }
}
