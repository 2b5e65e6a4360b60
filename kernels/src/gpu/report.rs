//! What the driver and NVML say about this machine's GPUs. Tested over a stand-in for the driver, without NVML.
use super::driver::{capability, code, start, unavailable};
use crate::Result;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as DeviceLimit};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use std::panic::catch_unwind;

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
/// [`crate::Error::Unavailable`] if there are none.
pub fn gpus() -> Result<Vec<GpuReport>> {
    catch_unwind(list).unwrap_or_else(|_| Err(unavailable("the NVIDIA driver is broken; install it anew")))
}

fn list() -> Result<Vec<GpuReport>> {
    start()?;
    let failed = |error| unavailable(format!("the NVIDIA driver says {}; check nvidia-smi", code(error)));
    let nvml = Nvml::init().ok();
    let count = result::device::get_count().map_err(failed)?;
    (0..count).map(|ordinal| one(ordinal, nvml.as_ref()).map_err(failed)).collect()
}

fn one(ordinal: i32, nvml: Option<&Nvml>) -> std::result::Result<GpuReport, result::DriverError> {
    let raw = result::device::get(ordinal)?;
    let mut bus = [0u8; 32];
    // SAFETY: a device that the driver named; it writes at most as many bytes, the last of them zero.
    unsafe { sys::cuDeviceGetPCIBusId(bus.as_mut_ptr().cast(), bus.len() as i32, raw) }.result()?;
    // The two libraries number GPUs differently, so the bus decides.
    let bus = std::ffi::CStr::from_bytes_until_nul(&bus).ok().and_then(|bus| bus.to_str().ok()).unwrap_or_default();
    let device = nvml.and_then(|nvml| nvml.device_by_pci_bus_id(bus).ok());
    let device = device.as_ref();
    // SAFETY: as above.
    let attribute = |limit| unsafe { result::device::get_attribute(raw, limit) }.map(i32::unsigned_abs);
    Ok(GpuReport {
        ordinal: ordinal.unsigned_abs() as usize,
        name: result::device::get_name(raw)?,
        capability: capability(raw)?,
        multiprocessors: attribute(DeviceLimit::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        clock_max_mhz: attribute(DeviceLimit::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)? / 1000,
        // SAFETY: a device that the driver named.
        memory_total: unsafe { result::device::total_mem(raw)? },
        memory_free: device.and_then(|device| device.memory_info().ok()).map(|memory| memory.free),
        driver: nvml.and_then(|nvml| nvml.sys_driver_version().ok()),
        clock_mhz: device.and_then(|device| device.clock_info(Clock::SM).ok()),
        memory_clock_mhz: device.and_then(|device| device.clock_info(Clock::Memory).ok()),
        power_watts: device.and_then(|device| device.power_usage().ok()).map(|milliwatts| milliwatts as f32 / 1e3),
        temperature_celsius: device.and_then(|device| device.temperature(TemperatureSensor::Gpu).ok()),
        throttled_by: device
            .and_then(|device| device.current_throttle_reasons().ok())
            .map(|reasons| reasons.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(", ")),
    })
}
