//! `plan`: what a model takes in device memory, to the byte, before anything is loaded.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use med2e3::{Engine, LoadOptions, MemoryPlan};
use med2e3_kernels::Plan as PlanDevice;
use serde::Serialize;

use crate::args::sampling;
use crate::failure::Result;
use crate::output;

/// Print the device memory that a model takes, without loading it
#[derive(Debug, Args)]
pub struct Plan {
    /// The model's folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Element types of which kind of device
    #[arg(long, value_enum, default_value_t = Kind::Cuda)]
    device: Kind,
    /// Questions that are answered at a time, 1 to 256
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = sampling::batch)]
    batch: usize,
    /// Volumes that stay encoded
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = sampling::volumes)]
    volumes: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Devices that differ in what they allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// f32 activations; weights stay in the mapped checkpoint, as page cache
    Cpu,
    /// bf16 throughout
    Cuda,
}

#[derive(Debug, Serialize)]
struct Report {
    device: &'static str,
    weights: usize,
    buffers: usize,
    workspace: usize,
    volume: usize,
    volumes: usize,
    total: usize,
}

impl Plan {
    /// Prints the plan.
    pub fn run(&self) -> Result<()> {
        let folder = med2e3_loaders::ModelFolder::open(&self.model)?;
        let (device, plan) = match self.device {
            Kind::Cpu => ("cpu", PlanDevice::cpu()),
            Kind::Cuda => ("cuda", PlanDevice::gpu()),
        };
        let plan = Engine::plan(plan, &folder, &self.options())?;
        let MemoryPlan { weights, buffers, workspace, volume, volumes, .. } = plan;
        let report = Report { device, weights, buffers, workspace, volume, volumes, total: plan.total() };
        if self.json { output::print_json(&report) } else { output::print(&text(&report)).map(|_| ()) }
    }
}

impl Plan {
    fn options(&self) -> LoadOptions {
        LoadOptions { batch: self.batch, volumes: self.volumes, ..LoadOptions::default() }
    }
}

fn text(report: &Report) -> String {
    let mut out = format!("memory on {}, bytes\n", report.device);
    let rows = [
        ("weights", report.weights),
        ("buffers", report.buffers),
        ("workspace", report.workspace),
        (if report.volumes == 1 { "a volume" } else { "volumes" }, report.volumes * report.volume),
        ("in all", report.total),
    ];
    for (label, bytes) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {label:<10} {bytes:>14}  {:>8.3} GiB", bytes as f64 / (1u64 << 30) as f64);
    }
    out
}
