//! A reader that goes away, and Ctrl-C.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::command;

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
fn ctrl_c_ends_with_130_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The emulator takes seconds to answer.
    let arguments = ["generate", "--demo", "--threads", "1", "--device", "emulated"];
    let mut child =
        command(&arguments).env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let entries = || folder.path().read_dir().unwrap().count();
    let started = Instant::now();
    while entries() == 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "the demo makes its model in TMPDIR");
        std::thread::sleep(Duration::from_millis(1));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(entries(), 0, "the temporary model is removed");
}
