//! `doctor`: what this machine and this build can do, what is missing, and what to do about it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use clap::Args;
use kernels::{Cpu, Device, Precision};
use serde::Serialize;

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
    device: &'static str,
    available: bool,
    detail: &'static str,
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
        devices: vec![
            DeviceReport { device: "cpu", available: true, detail: "always there" },
            DeviceReport { device: "cuda", available: false, detail: "not part of this build yet" },
            DeviceReport { device: "emulated", available: false, detail: "not part of this build yet" },
        ],
        advice: Vec::new(),
    };
    report.advice = advice(&report);
    report
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

/// Bytes that we may still write to the disk of `path`; absent where the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
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
        let (free, wanted) = (gibibytes(Some(available)), gibibytes(Some(RELEASED_BYTES)));
        advice.push(format!(
            "{free} of memory are available, but the released model takes {wanted}: close other programs"
        ));
    }
    advice.push("no GPU device in this build: run with --device cpu, which is what auto means here".into());
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
    let (available, total) = (gibibytes(report.memory_available), gibibytes(report.memory_total));
    line("memory", &format!("{available} available of {total}"));
    let (here, temporary) = (gibibytes(report.disk_free_here), gibibytes(report.disk_free_temporary));
    line("disk", &format!("{here} free here, {temporary} free for temporary files"));
    line("exact", &report.exact);
    line("fast", &report.fast);
    for device in &report.devices {
        let state = if device.available { "yes" } else { "no" };
        line(device.device, &format!("{state}: {}", device.detail));
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
        assert!(text(&report).contains("cuda       no"));
    }

    #[test]
    fn the_disk_of_a_missing_path_is_unknown() {
        assert_eq!(free_bytes(Path::new("/nonexistent/folder")), None);
        assert!(free_bytes(Path::new(".")).is_some());
    }
}
