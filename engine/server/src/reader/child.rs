//! The process that decodes one scan: from its standard input to its standard output.
use super::{Job, Reply};
use med2e3::loaders::{self, guard::guarded};
use med2e3::volume::read_volume;
use med2e3::{Cpu, Error, Precision, PreparedVolume, prepare};
use rustix::process::{Resource, Rlimit, setpriority_process, setrlimit};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

/// Where a process finds the file that is its standard input, to open it anew: readers want to seek.
const INPUT: &str = "/proc/self/fd/0";

/// Behind everything that a server does for an answer.
const PRIORITY: i32 = 10;

/// Decodes the scan that standard input is, as the server's `job` says, within its limits. Whether it could say what
/// became of it.
pub fn run(job: &str) -> bool {
    // Whatever a scan does to a codec is the scan's fault, and is said to the one who sent it.
    std::panic::set_hook(Box::new(|_| {}));
    let Ok(job) = serde_json::from_str::<Job>(job) else { return false };
    if limit(&job).is_err() {
        return false;
    }
    let read = guarded(|| decode(&job)).unwrap_or_else(|| Err("the scan is damaged; save it anew".into()));
    let written = match read {
        Ok((report, prepared)) => write(&Reply::Read(report), &prepared.voxels),
        Err(message) => write(&Reply::Refused(message), &[]),
    };
    written.is_ok()
}

fn limit(job: &Job) -> rustix::io::Result<()> {
    let set = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    set(Resource::As, job.memory)?;
    set(Resource::Cpu, job.seconds)?;
    set(Resource::Fsize, job.output)?;
    set(Resource::Core, 0)?;
    // Answers that are in the making come first.
    setpriority_process(None, PRIORITY)
}

/// Reads the scan and makes it the model's input; on the processor, as every device gives the same bits.
fn decode(job: &Job) -> Result<(Value, PreparedVolume), String> {
    let options = job.options.volume_options(job.model_window)?;
    let raw = read_volume(Path::new(INPUT), &options).map_err(|error| told(&error))?;
    let device = Cpu { precision: Precision::Exact };
    let prepared = prepare(&device, &raw, job.size, &options).map_err(|error| match &error {
        Error::Loaders(error) => told(error),
        error => error.to_string(),
    })?;
    let info = &raw.info;
    // The first and the last source of each slice; nothing in formats that know none.
    let origin = |slice: &usize| info.slices.get(*slice);
    let ends = |sources: &[usize; 2]| sources.iter().map(origin).collect::<Option<Vec<_>>>();
    let slices: Option<Vec<_>> = prepared.source_slices.iter().map(ends).collect();
    let report = json!({
        "format": info.format,
        "shape": raw.dims,
        "spacing_mm": info.spacing_mm,
        "unit": info.unit,
        "modality": info.modality,
        "window": prepared.window,
        "crop": prepared.crop,
        "source_slices": prepared.source_slices,
        "identity": info.identity,
        "slices": slices,
        "warnings": prepared.warnings,
    });
    Ok((report, prepared))
}

/// The sentence about the scan without a path, which would be one of ours, and with flags as HTTP's fields.
fn told(error: &loaders::Error) -> String {
    let text = match error {
        loaders::Error::BadInput { finding, remedy, .. } => format!("the scan {finding}; {remedy}"),
        loaders::Error::Io { doing, .. } => format!("the scan cannot be {doing} by the server; send it again"),
        loaders::Error::OutOfMemory { lack, .. } => {
            format!("the scan takes more memory than it may ({lack}); send a smaller one")
        }
    };
    text.replace("--index", "index")
        .replace("--series", "series")
        .replace("--window", "window")
        .replace("--allow-gaps", "allow_gaps true")
}

fn write(reply: &Reply, voxels: &[f32]) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    serde_json::to_writer(&mut out, reply)?;
    out.write_all(b"\n")?;
    for voxel in voxels {
        out.write_all(&voxel.to_le_bytes())?;
    }
    out.flush()
}
