//! What the system does to a run: files that change under it, full disks, few threads, no permission, power cuts.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{command, fail, json as run_json, small_volume, succeed, text, tiny_model};

/// A copy of the tiny model in `folder`, to be damaged.
fn model(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    assert!(Command::new("cp").args(["-r", tiny_model(), text(&model)]).status().unwrap().success());
    model
}

fn truncate(model: &Path) {
    std::fs::OpenOptions::new().write(true).open(model.join("llm/model.safetensors")).unwrap().set_len(0).unwrap();
}

/// The run ended with status 1 and one sentence about the weights in `part`.
fn says_cut_short(output: &Output, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{:?}: {said}", output.status);
    let told = said.contains("cut short while") && said.contains(part) && said.contains(';');
    assert!(told && said.lines().count() == 1 && said.starts_with("error: "), "{said}");
}

#[test]
fn weights_cut_short_while_an_answer_runs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let volume = small_volume(folder.path());
    let line = ["generate", "--model", text(&model), "--volume", text(&volume), "--prompt", "Why?"];
    let line = [&line[..], &["--max-new-tokens", "400", "--temperature", "9"]].concat();
    let mut child = command(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    truncate(&model);
    says_cut_short(&child.wait_with_output().unwrap(), "llm/model.safetensors");
}

#[test]
fn weights_cut_short_while_questions_are_asked_leave_a_sound_journal() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let _volume = small_volume(folder.path());
    let data = folder.path().join("data.json");
    let out = folder.path().join("out.json");
    let item = |index: usize| {
        let turns = [json!({"from": "human", "value": format!("What is in slice {index}?")})];
        json!({"id": index.to_string(), "vision3d": ["volume.npy"], "answer": "no", "conversations": turns})
    };
    std::fs::write(&data, Value::from((0..60).map(item).collect::<Vec<_>>()).to_string()).unwrap();
    let line = ["eval", "--model", text(&model), "--data", text(&data), "--volumes", text(folder.path())];
    let line = [&line[..], &["--out", text(&out), "--max-new-tokens", "9"]].concat();
    let mut child = command(&line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let journal = folder.path().join("out.json.partial");
    let started = Instant::now();
    while std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count()) < 3 {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "ran too fast");
    }
    truncate(&model);
    says_cut_short(&child.wait_with_output().unwrap(), "llm/model.safetensors");
    let kept = std::fs::read_to_string(&journal).unwrap();
    assert!(kept.ends_with('\n') && kept.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

/// Adds a tensor of 64 MB of zeros to a part of the model, in a shard of its own that takes no room on the disk.
fn widen(model: &Path, part: &str) -> PathBuf {
    let folder = model.join(part);
    let weights = med2e3_loaders::Checkpoint::open(&folder).unwrap();
    let mut map: serde_json::Map<String, Value> =
        weights.names().map(|name| (name.to_owned(), json!("model.safetensors"))).collect();
    map.insert("extra".to_owned(), json!("extra.safetensors"));
    std::fs::write(folder.join("model.safetensors.index.json"), json!({ "weight_map": map }).to_string()).unwrap();
    let header = json!({"extra": {"dtype": "F32", "shape": [16 << 20], "data_offsets": [0, 64 << 20]}}).to_string();
    let shard = folder.join("extra.safetensors");
    std::fs::write(&shard, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&shard).unwrap();
    file.set_len(8 + header.len() as u64 + (64 << 20)).unwrap();
    shard
}

/// The bytes of all files below a folder that changes meanwhile.
fn bytes_below(folder: &Path) -> u64 {
    let entries = folder.read_dir().into_iter().flatten().flatten();
    let bytes = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

/// The bytes are read by us where the element type changes, and by the system where it does not.
#[test]
fn weights_cut_short_while_they_are_converted_are_named_and_so_is_what_is_left() {
    for (dtype, named) in [("bf16", "vision3d_connector/extra.safetensors"), ("f32", "vision3d_connector")] {
        let folder = tempfile::tempdir().unwrap();
        let model = model(folder.path());
        let place = folder.path().join("place");
        std::fs::create_dir(&place).unwrap();
        let shard = widen(&model, "vision3d_connector");
        let out = place.join("out");
        let line = ["convert", "--model", text(&model), "--dtype", dtype, "--out", text(&out), "--threads", "1"];
        let child = command(&line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let started = Instant::now();
        // The other parts have 7 MB in f32.
        while bytes_below(&place) < 12 << 20 {
            assert!(started.elapsed() < Duration::from_secs(60), "the tensor is never written");
        }
        std::fs::OpenOptions::new().write(true).open(shard).unwrap().set_len(0).unwrap();
        says_cut_short(&child.wait_with_output().unwrap(), named);
        assert!(!out.exists());
        // The handler of a bus error can remove nothing; an error of a write does.
        let left = place.read_dir().unwrap().count();
        let other = crate::run(&["convert", "--model", tiny_model(), "--out", text(&out)]);
        assert_eq!((other.status, other.stderr.contains("; remove .engine-cli-")), (Some(0), left == 1), "{dtype}");
    }
}

#[test]
fn what_killed_runs_leave_is_named_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let part = folder.path().join(".engine-cli-x7.part");
    std::fs::create_dir(&part).unwrap();
    std::fs::write(part.join("weights"), "half").unwrap();
    let out = folder.path().join("out.npy");
    let model = folder.path().join("model");
    for line in [
        vec!["preprocess", "--volume", text(&volume), "--out", text(&out)],
        vec!["convert", "--model", tiny_model(), "--out", text(&model)],
    ] {
        let outcome = crate::run(&line);
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        let said: Vec<&str> = outcome.stderr.lines().collect();
        assert!(
            said.len() == 1 && said[0].starts_with("warning: ") && said[0].contains(".engine-cli-x7.part"),
            "{said:?}"
        );
        assert!(part.join("weights").exists());
    }
}

/// A library before the C library: notes what is synchronised, and can make the disk full for unfinished results.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void path_of(int fd, char *path, size_t room) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, room - 1);
    path[got > 0 ? got : 0] = 0;
}
static int note(int fd) {
    const char *log = getenv("SYNC_LOG");
    if (log) {
        char path[4096];
        path_of(fd, path, sizeof path);
        FILE *file = fopen(log, "a");
        fprintf(file, "%s %s\n", access(getenv("SYNC_TARGET"), F_OK) == 0 ? "after" : "before", path);
        fclose(file);
    }
    return 0;
}
int fsync(int fd) { return note(fd); }
int fdatasync(int fd) { return note(fd); }
ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (getenv("DISK_FULL")) {
        char path[4096];
        path_of(fd, path, sizeof path);
        if (strstr(path, ".part")) { errno = ENOSPC; return -1; }
    }
    return next(fd, bytes, count);
}
"#;

/// Builds the library in `folder`.
fn shim(folder: &Path) -> PathBuf {
    let code = folder.join("shim.c");
    let library = folder.join("shim.so");
    std::fs::write(&code, SHIM).unwrap();
    let arguments = ["-xc", "-shared", "-fPIC", "-o", text(&library), text(&code), "-ldl"];
    assert!(Command::new("c++").args(arguments).status().unwrap().success());
    library
}

#[test]
fn results_are_on_the_disk_before_and_after_they_get_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let library = shim(folder.path());
    let place = folder.path().join("place");
    std::fs::create_dir(&place).unwrap();
    let volume = small_volume(folder.path());
    let file = place.join("out.npy");
    let model = place.join("model");
    let log = folder.path().join("log");
    for (line, target) in [
        (vec!["preprocess", "--volume", text(&volume), "--out", text(&file)], &file),
        (vec!["convert", "--model", tiny_model(), "--out", text(&model)], &model),
    ] {
        let _ = std::fs::remove_file(&log);
        let run = command(&line).env("LD_PRELOAD", &library).env("SYNC_LOG", &log).env("SYNC_TARGET", target).output();
        assert_eq!(run.unwrap().status.code(), Some(0));
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        let noted = |when: &str, what: &str| log.lines().any(|line| line.starts_with(when) && line.contains(what));
        assert!(noted("before", ".engine-cli-"), "nothing was written to the disk before the name changed: {log}");
        assert!(log.lines().any(|line| line == format!("after {}", text(&place))), "the name was not written: {log}");
        if target == &model {
            for inner in ["llm/model.safetensors", "args/config.json", "vision3d_model/vocab.txt", "folder/llm"] {
                assert!(noted("before", inner), "{inner}: {log}");
            }
        }
    }
}

#[test]
fn a_full_disk_is_called_full_under_the_users_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let library = shim(folder.path());
    let volume = small_volume(folder.path());
    let entries = || folder.path().read_dir().unwrap().count();
    let before = entries();
    let file = folder.path().join("out.npy");
    let trace = folder.path().join("out.safetensors");
    let made = folder.path().join("made");
    for (line, name) in [
        (vec!["preprocess", "--volume", text(&volume), "--out", text(&file)], &file),
        (
            vec!["generate", "--demo", "--device", "cpu", "--trace", text(&trace), "--max-new-tokens", "1", "--json"],
            &trace,
        ),
        (vec!["convert", "--model", tiny_model(), "--dtype", "f32", "--out", text(&made)], &made),
        (vec!["make-model", "--preset", "tiny", "--out", text(&made)], &made),
        (vec!["phantom", "--seed", "1", "--count", "2", "--size", "16,32,32", "--out", text(&made)], &made),
    ] {
        let output = command(&line).env("LD_PRELOAD", &library).env("DISK_FULL", "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {said}");
        assert!(said.contains(text(name)) && said.contains("the disk is full"), "{line:?}: {said}");
        assert!(!said.contains("part") && said.lines().count() == 1, "{line:?}: {said}");
        assert_eq!(entries(), before, "{line:?} left something");
    }
}

/// `ulimit -f` raises a signal that would end the process with its unfinished files in place.
#[test]
fn a_limit_on_files_is_an_error_that_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let out = folder.path().join("out.npy");
    let script = "ulimit -f 8; exec \"$0\" preprocess --volume \"$1\" --out \"$2\"";
    let program = env!("CARGO_BIN_EXE_engine-cli");
    let output = Command::new("bash").args(["-c", script, program, text(&volume), text(&out)]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{:?}: {said}", output.status);
    assert!(said.contains("out.npy: ") && said.contains("ulimit -f"), "{said}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 1);
}

#[test]
fn threads_are_never_too_many() {
    for number in ["99999999", "18446744073709551615", "99999999999999999999", "-1", "many", "0", ""] {
        let output = command(&["doctor", "--json"]).env("RAYON_NUM_THREADS", number).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{number}: {said}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let threads = report["threads"].as_u64().unwrap();
        let cores = std::thread::available_parallelism().unwrap().get() as u64;
        assert!(threads >= 1 && threads <= (8 * cores).max(16), "{number}: {threads}");
        assert_eq!(said.starts_with("warning: ") && said.contains("threads are too many"), threads > cores, "{said}");
    }
    assert_eq!(run_json(&["doctor", "--json", "--threads", "3"])["threads"], 3);
}

/// The superuser has all permissions and no limits, so that the tests below need another user.
fn as_nobody(script: &str, arguments: &[&str]) -> Option<Output> {
    let drop = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let probe = Command::new("setpriv").args(drop).args([env!("CARGO_BIN_EXE_engine-cli"), "--version"]).output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        println!("not run: needs the superuser, setpriv, and a program that another user may run");
        return None;
    }
    let program = env!("CARGO_BIN_EXE_engine-cli");
    let command = ["bash", "-c", script, program];
    Some(Command::new("setpriv").args(drop).args(command).args(arguments).output().unwrap())
}

fn one_sentence(output: &Output, status: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.lines().count() == 1 && said.starts_with("error: ") && said.contains(';'), "{said}");
    said
}

#[test]
fn a_system_without_threads_is_told_from_a_fault() {
    for arguments in [&["doctor"][..], &["doctor", "--threads", "8"]] {
        let Some(output) = as_nobody("ulimit -u 1; exec \"$0\" \"$@\"", arguments) else { return };
        let said = one_sentence(&output, 1);
        assert!(said.contains("cannot start") && said.contains("ulimit -u"), "{said}");
    }
}

#[test]
fn missing_permissions_are_called_by_their_name() {
    let folder = tempfile::tempdir().unwrap();
    let mode =
        |path: &Path, mode: &str| assert!(Command::new("chmod").args([mode, text(path)]).status().unwrap().success());
    mode(folder.path(), "755");
    let model = model(folder.path());
    let volume = small_volume(folder.path());
    let out = folder.path().join("out.npy");
    let run = |arguments: &[&str]| as_nobody("exec \"$0\" \"$@\"", arguments);
    let Some(output) = run(&["preprocess", "--volume", text(&volume), "--out", text(&out)]) else { return };
    let said = one_sentence(&output, 2);
    assert!(said.contains("Permission denied") && said.contains("out.npy"), "{said}");
    mode(&volume, "000");
    let said = one_sentence(&run(&["inspect", "--volume", text(&volume)]).unwrap(), 3);
    assert!(said.contains("Permission denied") && !said.contains("again"), "{said}");
    mode(&model.join("llm"), "000");
    let said = one_sentence(&run(&["inspect", "--model", text(&model)]).unwrap(), 3);
    assert!(said.contains("Permission denied") && !said.contains("holds no weights"), "{said}");
    mode(&model.join("llm"), "755");
}

/// Names and values that a terminal would obey, and values of megabytes.
#[test]
fn sentences_are_short_and_on_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a\nb\u{1b}[31m\u{202e}.nii");
    let said = fail(&["inspect", "--volume", text(&odd)], 3);
    assert!(said.contains("a\\nb\\u{1b}[31m\\u{202e}.nii"), "{said}");
    std::fs::write(&odd, "no scan").unwrap();
    fail(&["inspect", "--volume", text(&odd)], 3);
    let long = folder.path().join("long.npy");
    let header = format!("{{'descr': '<{}', 'fortran_order': False, 'shape': (1, 2, 3), }}\n", "f".repeat(60_000));
    let bytes = [b"\x93NUMPY\x02\x00", &(header.len() as u32).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(&long, bytes).unwrap();
    let said = fail(&["inspect", "--volume", text(&long)], 3);
    assert!(said.trim_end().chars().count() <= 700 && said.contains("; save it as float32"), "{said}");
    let prompt = "lesion ".repeat(15_000);
    let said = fail(&["generate", "--model", tiny_model(), "--volume", text(&odd), "--prompt", &prompt], 3);
    assert!(said.trim_end().chars().count() <= 700);
    let said = fail(&["generate", "--device", &"x\n\u{1b}".repeat(9000)], 2);
    assert!(said.trim_end().chars().count() <= 700);
    // A scan whose name is odd is read all the same; stdout shows the name as it can be shown.
    let volume = small_volume(folder.path());
    let scan = folder.path().join("scan\u{1b}[2J.npy");
    std::fs::rename(volume, &scan).unwrap();
    let shown = succeed(&["inspect", "--volume", text(&scan)]);
    assert!(!shown.contains('\u{1b}') && shown.contains("scan\\u{1b}[2J.npy"), "{shown}");
    assert_eq!(run_json(&["inspect", "--volume", text(&scan), "--json"])["path"], text(&scan));
}

/// A panic in the tokenizers crate was reported as a fault of ours.
#[test]
fn a_hostile_tokenizer_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let path = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    tokenizer["decoder"]["decoders"][3]["stop"] = json!(1);
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    let volume = small_volume(folder.path());
    let line = ["generate", "--model", text(&model), "--volume", text(&volume), "--prompt", "Why?"];
    let said = fail(&[&line[..], &["--max-new-tokens", "1"]].concat(), 3);
    assert!(said.contains("strips other than"), "{said}");
}

/// Every command that opens a model.
#[test]
fn an_adapter_is_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let volume = small_volume(folder.path());
    std::fs::create_dir(model.join("llm/adapter")).unwrap();
    std::fs::write(model.join("llm/adapter/adapter_model.safetensors"), "weights").unwrap();
    let data = folder.path().join("data.json");
    let out = folder.path().join("out");
    let turns = [json!({"from": "human", "value": "Is it?"})];
    let item = json!({"id": "0", "vision3d": ["volume.npy"], "answer": "no", "conversations": turns});
    std::fs::write(&data, json!([item]).to_string()).unwrap();
    let model = text(&model);
    let volumes = text(folder.path());
    for line in [
        vec!["generate", "--model", model, "--volume", text(&volume), "--prompt", "p"],
        vec!["eval", "--model", model, "--data", text(&data), "--volumes", volumes],
        vec!["inspect", "--model", model],
        vec!["convert", "--model", model, "--out", text(&out)],
        vec!["plan", "--model", model],
    ] {
        let said = fail(&line, 3);
        assert!(said.contains("adapter_model.safetensors") && said.contains("merge_and_unload"), "{said}");
    }
}
