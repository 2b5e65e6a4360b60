//! Runs the binary as a user does: arguments in; stdout, stderr, files and the exit status out.

mod bench;
mod demo;
mod errors;
mod eval;
mod files;
mod finite;
mod frozen;
mod generate;
mod intensities;
mod memory;
mod phantom;
mod processes;
mod scans;
#[cfg(feature = "server")]
mod serve;
mod signals;
mod targets;
mod windows;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// What a run left behind.
struct Outcome {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The binary with these arguments, not started yet.
fn command<S: AsRef<str>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine-cli"));
    command.args(arguments.iter().map(AsRef::as_ref)).stdin(Stdio::null());
    command
}

fn run<S: AsRef<str>>(arguments: &[S]) -> Outcome {
    let output = command(arguments).output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text is UTF-8");
    Outcome { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A run that must succeed; its stdout.
fn succeed<S: AsRef<str>>(arguments: &[S]) -> String {
    let outcome = run(arguments);
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    outcome.stdout
}

/// A run that must succeed with one JSON object on stdout.
fn json<S: AsRef<str>>(arguments: &[S]) -> Value {
    serde_json::from_str(&succeed(arguments)).expect("stdout is one JSON object")
}

/// A run that must fail with `status`, nothing on stdout and one sentence on stderr; the sentence.
fn fail<S: AsRef<str>>(arguments: &[S], status: i32) -> String {
    let Outcome { status: found, stdout, stderr } = run(arguments);
    assert_eq!(found, Some(status), "{stderr}");
    assert_eq!(stdout, "");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains(';'), "{stderr}");
    stderr
}

/// A tiny model and a small volume, made once per run of the tests, in the build's own folder.
struct Inputs {
    model: String,
    volume: String,
}

fn inputs() -> &'static Inputs {
    static INPUTS: OnceLock<Inputs> = OnceLock::new();
    INPUTS.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("engine-cli");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let model = text(&folder.join("model")).to_owned();
        succeed(&["make-model", "--preset", "tiny", "--seed", "5", "--out", &model]);
        Inputs { model, volume: text(&small_volume(&folder)).to_owned() }
    })
}

fn tiny_model() -> &'static str {
    &inputs().model
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A small prepared volume: a bright box in the dark, brighter in its middle slices.
fn small_volume(folder: &Path) -> PathBuf {
    let path = folder.join("volume.npy");
    let dims = [8, 20, 24];
    let voxels: Vec<f32> = (0..8 * 20 * 24)
        .map(|i| {
            let slice = i / 480;
            let row = i / 24 % 20;
            let column = i % 24;
            let inside = (4..16).contains(&row) && (4..20).contains(&column);
            if inside { 0.3 + 0.08 * (slice % 5) as f32 } else { 0.02 * (column % 3) as f32 }
        })
        .collect();
    med2e3_loaders::volume::write_npy(&path, dims, &voxels).unwrap();
    path
}

/// Every file below a folder with its bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found
}
