//! What is known about this machine's GPUs.
use crate::Result;

/// One GPU. What NVML does not say is absent.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuReport {
    /// Its number, as `--device cuda:N` takes it.
    pub ordinal: usize,
    /// Its product name.
    pub name: String,
    /// Major and minor.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// MHz of the multiprocessors at most.
    pub clock_max_mhz: u32,
    /// Bytes of memory in all.
    pub memory_total: usize,
    /// Bytes that no process has taken.
    pub memory_free: Option<u64>,
    /// The driver's version.
    pub driver: Option<String>,
    /// MHz of the multiprocessors, now.
    pub clock_mhz: Option<u32>,
    /// MHz of the memory, now.
    pub memory_clock_mhz: Option<u32>,
    /// Watts, now.
    pub power_watts: Option<f32>,
    /// Degrees Celsius, now.
    pub temperature_celsius: Option<u32>,
    /// Why clocks are lower than they could be, in NVML's words.
    pub throttled_by: Option<String>,
}

impl GpuReport {
    /// Operations per second of bf16 products at the highest clock, for the capabilities whose rate per multiprocessor
    /// is known: 2048 in a cycle for 8.0, 4096 for 9.0.
    pub fn peak_flops(&self) -> Option<f64> {
        let per_cycle = match self.capability {
            (8, 0) => 2048.0,
            (9, 0) => 4096.0,
            _ => return None,
        };
        Some(per_cycle * f64::from(self.multiprocessors) * f64::from(self.clock_max_mhz) * 1e6)
    }
}

/// This machine's GPUs, whether or not this build can use them.
///
/// # Errors
/// [`crate::Error::Unavailable`] if there are none, or this build is without the feature `cuda`.
pub fn gpus() -> Result<Vec<GpuReport>> {
    #[cfg(feature = "cuda")]
    let found = super::nvml::gpus();
    #[cfg(not(feature = "cuda"))]
    let found = {
        let detail = "this build cannot look for GPUs; build it with --features cuda".into();
        Err(crate::Error::Unavailable { detail })
    };
    found
}
