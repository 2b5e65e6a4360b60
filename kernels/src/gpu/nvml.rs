//! Asks the driver and NVML about this machine's GPUs. Tested over a fake driver, without NVML.
use super::GpuReport;
use super::driver::{capability, code, start, unavailable};
use crate::Result;
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUdevice_attribute as DeviceLimit};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use std::panic::catch_unwind;

/// As [`super::gpus`].
pub(super) fn gpus() -> Result<Vec<GpuReport>> {
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
