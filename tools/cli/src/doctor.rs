//! `doctor`: what this machine and this build can do, what is missing, and what to do about it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::Args;
use med2e3_kernels::gpu::gpus;
use med2e3_kernels::{Cpu, Device, Gpu, GpuReport, Precision};
use serde::Serialize;

use crate::disk::free_bytes;
use crate::failure::Result;
use crate::output;

/// Check this machine: processor, memory, disk, devices
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    system: String,
    processor: String,
    features: Vec<&'static str>,
    threads: usize,
    memory_total: Option<u64>,
    memory_available: Option<u64>,
    disk_free_here: Option<u64>,
    disk_free_temporary: Option<u64>,
    exact: String,
    fast: String,
    devices: Vec<DeviceReport>,
    advice: Vec<String>,
}

#[derive(Debug, Serialize)]
struct DeviceReport {
    device: String,
    available: bool,
    detail: String,
}

/// What decides how fast the processor multiplies, by the kernel's names.
const FEATURES: [&str; 9] =
    ["avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "amx_bf16", "asimd"];
/// What the released model takes in memory while it runs.
const RELEASED_BYTES: u64 = 11 << 30;

impl Doctor {
    /// Prints the findings.
    pub fn run(&self) -> Result<()> {
        let report = examine();
        if self.json { output::print_json(&report) } else { output::print(&text(&report)).map(|_| ()) }
    }
}

fn examine() -> Report {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |names: &[&str]| {
        let of =
            |line: &str| line.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
        cpuinfo.lines().filter_map(of).find(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value)
    };
    let flags = field(&["flags", "Features"]).unwrap_or_default();
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let (memory_total, memory_available) = memory();
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        processor: field(&["model name", "Hardware"]).unwrap_or_else(|| "unknown".into()),
        features: FEATURES.into_iter().filter(|feature| flags.contains(feature)).collect(),
        threads: rayon::current_num_threads(),
        memory_total,
        memory_available,
        disk_free_here: free_bytes(Path::new(".")),
        disk_free_temporary: free_bytes(&std::env::temp_dir()),
        exact: Cpu { precision: Precision::Exact }.describe(),
        fast: Cpu { precision: Precision::Fast }.describe(),
        devices: devices(),
        advice: Vec::new(),
    };
    report.advice = advice(&report);
    report
}

/// The processor, every GPU that the driver names, tried as `--device` would, and the emulator.
fn devices() -> Vec<DeviceReport> {
    let always =
        |device: &str, detail: &str| DeviceReport { device: device.into(), available: true, detail: detail.into() };
    let mut devices = vec![always("cpu", "always there")];
    match gpus() {
        Ok(gpus) => devices.extend(gpus.iter().map(|gpu| {
            let refused = Gpu::cuda(gpu.ordinal).err();
            let reason = refused.as_ref().map_or(String::new(), |error| format!("; {error}"));
            DeviceReport {
                device: format!("cuda:{}", gpu.ordinal),
                available: refused.is_none(),
                detail: gpu_detail(gpu) + &reason,
            }
        })),
        Err(error) => {
            devices.push(DeviceReport { device: "cuda".into(), available: false, detail: error.to_string() });
        }
    }
    devices.push(always("emulated", "the GPU's kernels on the processor, for tests: thousands of times slower"));
    devices
}

/// What is known of a GPU, in one line.
fn gpu_detail(gpu: &GpuReport) -> String {
    let (major, minor) = gpu.capability;
    let total = gibibytes(Some(gpu.memory_total as u64));
    let mut parts = vec![format!("{}, compute capability {major}.{minor}, {total}", gpu.name)];
    parts.extend(gpu.memory_free.map(|free| format!("{} free", gibibytes(Some(free)))));
    parts.extend(gpu.driver.as_ref().map(|driver| format!("driver {driver}")));
    parts.extend(gpu.clock_mhz.map(|clock| format!("{clock} MHz")));
    parts.extend(gpu.memory_clock_mhz.map(|clock| format!("memory {clock} MHz")));
    parts.extend(gpu.power_watts.map(|watts| format!("{watts:.0} W")));
    parts.extend(gpu.temperature_celsius.map(|degrees| format!("{degrees} °C")));
    parts.extend(gpu.throttled_by.as_ref().filter(|by| !by.is_empty()).map(|by| format!("clocks held by {by}")));
    parts.join(", ")
}

/// Memory in all and memory available, within the limit of a container where there is one.
fn memory() -> (Option<u64>, Option<u64>) {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
    };
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limit = number("/sys/fs/cgroup/memory.max");
    let used = number("/sys/fs/cgroup/memory.current").unwrap_or(0);
    let within = |value: Option<u64>, limit: Option<u64>| match (value, limit) {
        (Some(value), Some(limit)) => Some(value.min(limit)),
        (value, limit) => value.or(limit),
    };
    let left = limit.map(|limit| limit.saturating_sub(used));
    (within(field("MemTotal:"), limit), within(field("MemAvailable:"), left))
}

fn advice(report: &Report) -> Vec<String> {
    let mut advice = Vec::new();
    let has = |feature: &str| report.features.contains(&feature);
    if cfg!(target_arch = "x86_64") && !(has("avx2") && has("fma")) {
        advice.push("this processor has no AVX2 and FMA: expect minutes per answer; use a newer machine".into());
    } else if cfg!(target_arch = "x86_64") && !has("amx_bf16") && !has("avx512_bf16") {
        advice.push("no bf16 instructions: --precision fast gains little here".into());
    }
    if let Some(available) = report.memory_available.filter(|&available| available < RELEASED_BYTES) {
        let free = gibibytes(Some(available));
        let wanted = gibibytes(Some(RELEASED_BYTES));
        advice.push(format!(
            "{free} of memory are available, but the released model takes {wanted}: close other programs"
        ));
    }
    if !report.devices.iter().any(|device| device.available && device.device.starts_with("cuda")) {
        advice.push("no GPU can be used: --device auto means cpu here".into());
    }
    advice
}

fn gibibytes(bytes: Option<u64>) -> String {
    bytes.map_or("unknown".into(), |bytes| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64))
}

fn text(report: &Report) -> String {
    let mut out = format!("engine-cli {} on {}\n", report.version, report.system);
    let mut line = |label: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {label:<10} {value}");
    };
    line("processor", &format!("{}, {} threads used", report.processor, report.threads));
    line("features", &report.features.join(" "));
    let available = gibibytes(report.memory_available);
    let total = gibibytes(report.memory_total);
    line("memory", &format!("{available} available of {total}"));
    let here = gibibytes(report.disk_free_here);
    let temporary = gibibytes(report.disk_free_temporary);
    line("disk", &format!("{here} free here, {temporary} free for temporary files"));
    line("exact", &report.exact);
    line("fast", &report.fast);
    for device in &report.devices {
        let state = if device.available { "yes" } else { "no" };
        line(&device.device, &format!("{state}: {}", device.detail));
    }
    for advice in &report.advice {
        line("advice", advice);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_machine_gets_a_report() {
        let report = examine();
        assert!(report.threads >= 1 && !report.exact.is_empty());
        let text = text(&report);
        assert!(report.devices.len() >= 3 && text.contains("emulated   yes") && text.contains("\n  cuda"), "{text}");
    }

    #[test]
    fn a_gpu_is_one_line() {
        let gpu = GpuReport {
            ordinal: 0,
            name: "A".into(),
            capability: (8, 0),
            multiprocessors: 108,
            clock_max_mhz: 1410,
            memory_total: 80 << 30,
            memory_free: Some(1 << 30),
            driver: Some("550.1".into()),
            clock_mhz: Some(1410),
            memory_clock_mhz: None,
            power_watts: Some(63.4),
            temperature_celsius: Some(40),
            throttled_by: Some("sw_power_cap".into()),
        };
        let want = "A, compute capability 8.0, 80.0 GiB, 1.0 GiB free, driver 550.1, 1410 MHz, 63 W, 40 °C, \
                    clocks held by sw_power_cap";
        assert_eq!(gpu_detail(&gpu), want);
        assert_eq!(gpu.peak_flops().map(|peak| (peak / 1e12).round()), Some(312.0));
    }
}
