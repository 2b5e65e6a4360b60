//! Scans, decoded where an abort, a stack overflow or a bomb cannot take the server along: by a process of their own,
//! with a limit on memory, time and what it may write.
//!
//! Fallible allocation throughout would not do: most of what decodes pixels is other people's code, a failed allocation
//! in it ends the process, and so does a stack that is used up, which nothing in a process can catch.
mod child;

use crate::error::{ApiError, Result};
use crate::shared::Shared;
use crate::spool::SpoolFile;
use axum::http::StatusCode;
pub use child::run;
use med2e3::ContentHash;
use med2e3::volume::{VolumeOptions, WindowChoice};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// Room for what a reader says of a scan, before the voxels.
const REPORT_BYTES: usize = 1 << 20;

/// How a scan is read: what an upload or a question may say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadOptions {
    /// As `--window` takes it.
    pub window: String,
    /// Which series of several, by its UID or number.
    pub series: Option<String>,
    /// Which volume of several.
    pub index: Option<usize>,
    /// Slices without a direction come feet first.
    pub inferior_first: bool,
    /// Gaps between slices are accepted.
    pub allow_gaps: bool,
}

/// What the process is told, as JSON in its last argument.
#[derive(Serialize, Deserialize)]
struct Job {
    size: [usize; 3],
    options: ReadOptions,
    model_window: Option<[f32; 2]>,
    memory: u64,
    seconds: u64,
    output: u64,
}

/// What it answers: a line of JSON, and, where the scan could be read, the voxels as little-endian f32.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Read(Value),
    Refused(String),
}

/// A scan as the model sees it, on disk.
pub(crate) struct Scan {
    file: SpoolFile,
    start: u64,
    bytes: usize,
    /// What there is to know about it, for the one who sent it.
    pub report: Value,
    /// What tells it from others.
    pub hash: ContentHash,
}

impl Scan {
    /// The voxels.
    pub fn voxels(&self) -> Result<Arc<[f32]>> {
        let bytes = self.file.read_at(self.start, self.bytes).map_err(|error| lost(&error))?;
        Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four"))).collect())
    }
}

fn lost(error: &std::io::Error) -> ApiError {
    tracing::error!(reason = %error, "the spool cannot be read");
    ApiError::internal("spool_failed", "the server cannot read what it keeps; its log says why")
}

/// Has `raw` decoded for a model that takes volumes of `size`.
pub(crate) async fn read(shared: &Shared, raw: &SpoolFile, options: &ReadOptions, size: [usize; 3]) -> Result<Scan> {
    let limits = &shared.config.limits;
    let _turn = shared.decoders.acquire().await.map_err(|_| stopping())?;
    let bytes = size.iter().product::<usize>() * size_of::<f32>();
    let output = (bytes + REPORT_BYTES) as u64;
    let file = shared.spool.create(output)?;
    let job = Job {
        size,
        options: options.clone(),
        model_window: shared.config.model_window.map(|window| [window.lo(), window.hi()]),
        memory: limits.decode_memory,
        seconds: limits.decode_time.as_secs().max(1),
        output,
    };
    let status = start(shared, raw, &file, &job).await?;
    tokio::task::spawn_blocking(move || understand(file, bytes, status)).await.unwrap_or_else(|_| Err(broken()))
}

/// Runs the process to its end.
async fn start(shared: &Shared, raw: &SpoolFile, file: &SpoolFile, job: &Job) -> Result<ExitStatus> {
    let failed = |error: std::io::Error| {
        tracing::error!(reason = %error, "the reader of scans cannot be started");
        ApiError::internal("reader_failed", "the server cannot start its reader of scans; its log says why")
    };
    let job_text = serde_json::to_string(job).map_err(|error| failed(error.into()))?;
    let program = &shared.config.reader;
    let mut command = Command::new(&program.program);
    command.args(&program.arguments).arg(job_text);
    // Nothing of the environment, so that what decodes strangers' files knows nothing of ours; a group of its own, so
    // that Ctrl-C leaves it to us.
    command.env_clear().env("RAYON_NUM_THREADS", "2").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::from(raw.handle().map_err(failed)?));
    command.stdout(Stdio::from(file.handle().map_err(failed)?)).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    // The process counts its seconds itself, but only those in which it computes.
    let limit = Duration::from_secs(job.seconds);
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(status) => status.map_err(failed),
        Err(_) => {
            let _ = child.kill().await;
            Err(unreadable(format!("the scan was not decoded within {} seconds; send a smaller one", job.seconds)))
        }
    }
}

/// What a process that has ended left behind.
fn understand(mut file: SpoolFile, bytes: usize, status: ExitStatus) -> Result<Scan> {
    file.settle().map_err(|error| lost(&error))?;
    let head = file.read_at(0, REPORT_BYTES).map_err(|error| lost(&error))?;
    let line = head.iter().position(|&byte| byte == b'\n').map(|end| &head[..end]);
    let reply = line.and_then(|line| serde_json::from_slice(line).ok());
    match (reply, line, status.success()) {
        (Some(Reply::Read(report)), Some(line), true) => {
            let start = line.len() as u64 + 1;
            let voxels = file.read_at(start, bytes).map_err(|error| lost(&error))?;
            let hash = Sha256::digest(&voxels).into();
            if voxels.len() == bytes { Ok(Scan { file, start, bytes, report, hash }) } else { Err(broken()) }
        }
        (Some(Reply::Refused(message)), ..) => Err(unreadable(message)),
        _ => {
            tracing::warn!(signal = status.signal(), code = status.code(), "the reader of scans has ended early");
            Err(unreadable("the scan takes more memory or time than it may, or is damaged; send a smaller one"))
        }
    }
}

/// The scan's own fault.
fn unreadable(message: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_volume", message)
}

fn broken() -> ApiError {
    ApiError::internal("reader_failed", "the reader of scans has failed; try again")
}

fn stopping() -> ApiError {
    ApiError::unavailable("shutting_down", "the server is being stopped; ask another")
}

impl ReadOptions {
    /// As the loaders have it, for a model that was trained with `model_window`.
    fn volume_options(&self, model_window: Option<[f32; 2]>) -> Result<VolumeOptions, String> {
        use med2e3::volume::{SliceOrder, Window};
        let window: WindowChoice = self.window.parse()?;
        let model_window = model_window.and_then(|[lo, hi]| Window::new(lo, hi));
        let slice_order = if self.inferior_first { SliceOrder::InferiorFirst } else { SliceOrder::SuperiorFirst };
        let Self { series, index, allow_gaps, .. } = self.clone();
        Ok(VolumeOptions { window, model_window, slice_order, series, index, allow_gaps })
    }
}
