//! Runs the program within limits, and measures what it took.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use wait4::Wait4;

/// Address space of a run. `ulimit` counts in KiB.
pub const ADDRESS_BYTES_MAX: u64 = 2 << 30;
/// Seconds of processor time of a run, and how long it may take where the machine does other things too.
const CPU_SECONDS_MAX: u64 = 10;
const WALL_TIME_MAX: Duration = Duration::from_secs(120);

/// How a run ended.
pub struct Ended {
    /// The exit status, unless a signal ended it.
    pub status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// The most memory that was resident at a time.
    pub memory_bytes: u64,
    /// What the system counts in any case: this process at the moment at which it started the other.
    pub inherited_bytes: u64,
}

/// Runs the program in `folder` with these arguments.
pub fn run(folder: &Path, line: &[String]) -> Ended {
    let limits =
        format!("ulimit -c 0; ulimit -v {}; ulimit -t {CPU_SECONDS_MAX}; exec \"$0\" \"$@\"", ADDRESS_BYTES_MAX / 1024);
    let said = tempfile::tempdir().expect("a temporary folder");
    let [out, err] = ["stdout", "stderr"].map(|name| said.path().join(name));
    let file = |path| Stdio::from(std::fs::File::create(path).expect("a temporary file"));
    let mut command = Command::new("sh");
    command.args(["-c", &limits, env!("CARGO_BIN_EXE_engine-cli")]).args(line).args(["--threads", "2"]);
    command.current_dir(folder).env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stdout(file(&out)).stderr(file(&err));
    let mut child = command.spawn().expect("the shell starts");
    let watch = kill_late(child.id());
    let ended = child.wait4().expect("the child is ours");
    drop(watch);
    Ended {
        status: ended.status.code(),
        signal: ended.status.signal(),
        stdout: std::fs::read(out).expect("it was made"),
        stderr: std::fs::read(err).expect("it was made"),
        memory_bytes: ended.rusage.maxrss,
        inherited_bytes: own_peak_bytes(),
    }
}

/// The most memory that this process had at a time, with what the counters of several cores leave open.
fn own_peak_bytes() -> u64 {
    const INEXACT_BYTES: u64 = 4 << 20;
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    (kilobytes << 10) + INEXACT_BYTES
}

/// Kills the process after a while, unless the answer is dropped before: one that waits takes no processor time.
fn kill_late(process: u32) -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(WALL_TIME_MAX) == Err(mpsc::RecvTimeoutError::Timeout) {
            // It may have ended just now.
            let _ = Command::new("kill").args(["-KILL", &process.to_string()]).stderr(Stdio::null()).status();
        }
    });
    alive
}
