//! A reader that goes away, and Ctrl-C.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{command, succeed, text, tiny_model};

#[test]
fn a_closed_pipe_ends_the_answer_quietly() {
    let mut child = command(&["generate", "--demo"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error") && !stderr.contains("panic"), "{stderr}");
}

#[test]
fn signals_end_with_their_number_and_leave_nothing() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let folder = tempfile::tempdir().unwrap();
        // The emulator takes seconds to answer.
        let arguments = ["generate", "--demo", "--threads", "1", "--device", "emulated"];
        let mut child = command(&arguments)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let entries = || folder.path().read_dir().unwrap().count();
        let started = Instant::now();
        while entries() == 0 {
            assert!(started.elapsed() < Duration::from_secs(60), "the demo makes its model in TMPDIR");
            std::thread::sleep(Duration::from_millis(1));
        }
        send(signal, child.id());
        assert_eq!(child.wait().unwrap().code(), Some(status), "{signal}");
        assert_eq!(entries(), 0, "the temporary model is removed");
    }
}

/// As `nohup` starts a program, which then outlives the terminal.
#[test]
fn a_signal_that_was_ignored_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    let mut shell = Command::new("bash");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_engine-cli"), "generate", "--demo", "--device", "cpu"]);
    let mut child = shell.env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while folder.path().read_dir().unwrap().count() == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the demo makes its model in TMPDIR");
        std::thread::sleep(Duration::from_millis(1));
    }
    send("-HUP", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Whenever it comes, at the very end too: the whole folder is there, or nothing.
#[test]
fn ctrl_c_leaves_a_folder_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let convert = |out: &Path| ["convert", "--model", tiny_model(), "--out", text(out)].map(String::from);
    let whole = folder.path().join("whole");
    let out = folder.path().join("out");
    let started = Instant::now();
    succeed(&convert(&whole));
    let length = started.elapsed();
    let want = files(&whole);
    assert!(!want.is_empty());
    for run in 0..150 {
        let mut child = command(&convert(&out)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(length.mul_f64(f64::from(run % 50) / 40.0));
        send("-INT", child.id());
        let whole = child.wait().unwrap().code() == Some(0);
        assert_eq!(out.exists(), whole, "run {run}: the status says what is there");
        if whole {
            assert_eq!(files(&out), want, "run {run}");
            std::fs::remove_dir_all(&out).unwrap();
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "run {run} left something beside the folder");
    }
}

pub fn send(signal: &str, process: u32) {
    // One that has ended already is not there.
    Command::new("kill").args([signal, &process.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// The paths of all files of a folder, with their sizes.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<(String, u64)> = entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![(path.display().to_string(), path.metadata().unwrap().len())],
        })
        .map(|(path, bytes)| (path.replacen(&folder.display().to_string(), "", 1), bytes))
        .collect();
    all.sort();
    all
}
