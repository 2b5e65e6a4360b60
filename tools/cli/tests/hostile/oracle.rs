//! Whether a run ended as it must, whatever it was given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::program::Ended;

/// Memory that a run may take more than the same command with sound files: a flat part, and a multiple of the file.
const MEMORY_BYTES: u64 = 64 << 20;
const MEMORY_PER_BYTE: u64 = 64;
/// Characters of a sentence.
const SENTENCE_MAX: usize = 700;

/// What a run of a kind may end with.
pub struct Expected {
    pub statuses: &'static [i32],
    /// Resident memory with sound files.
    pub memory_bytes: u64,
}

/// The exit status, or what was wrong with how the run ended.
pub fn judge(ended: &Ended, input: &[u8], command: &str, folder: &Path, expected: &Expected) -> Result<i32, String> {
    let stderr = String::from_utf8(ended.stderr.clone()).map_err(|_| "stderr is not UTF-8".to_owned())?;
    let stdout = String::from_utf8(ended.stdout.clone()).map_err(|_| "stdout is not UTF-8".to_owned())?;
    let status = ended.status.ok_or_else(|| format!("ended by signal {:?}: {stderr}", ended.signal))?;
    if !expected.statuses.contains(&status) {
        return Err(format!("status {status}: {stderr}"));
    }
    check_stderr(&stderr, status)?;
    let allowed = expected.memory_bytes + MEMORY_BYTES + MEMORY_PER_BYTE * input.len() as u64;
    if ended.memory_bytes > allowed.max(ended.inherited_bytes) {
        return Err(format!("took {} bytes of memory for a file of {}: {stderr}", ended.memory_bytes, input.len()));
    }
    match status {
        0 => check_result(command, folder, &stdout)?,
        // A folder that could not be run is described before it is refused.
        _ if command.starts_with("inspect --model") => {}
        _ if !stdout.is_empty() => return Err(format!("failed, but wrote to stdout: {stdout}")),
        _ => {}
    }
    Ok(status)
}

/// Notes, each a line, and at the end of a run that failed one sentence.
fn check_stderr(stderr: &str, status: i32) -> Result<(), String> {
    let complaint = |what: &str| Err(format!("{what}: {stderr:?}"));
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    if errors != usize::from(status != 0)
        || (status != 0 && !stderr.lines().last().unwrap_or("").starts_with("error: "))
    {
        return complaint("stderr does not end with one error");
    }
    if ["fault in engine-cli", "panicked", "RUST_BACKTRACE", ".engine-cli-"].iter().any(|word| stderr.contains(word)) {
        return complaint("stderr speaks of our own insides");
    }
    for line in stderr.split_terminator('\n') {
        let sentence = line.strip_prefix("error: ").or(line.strip_prefix("warning: ")).unwrap_or(line);
        if sentence.is_empty() || sentence.chars().count() > SENTENCE_MAX || sentence.chars().any(char::is_control) {
            return complaint("a line is not one sentence");
        }
    }
    Ok(())
}

/// Looks at what a run that succeeded left behind.
fn check_result(command: &str, folder: &Path, stdout: &str) -> Result<(), String> {
    if command.contains("--out out.npy") {
        let bytes = std::fs::read(folder.join("out.npy")).map_err(|error| format!("there is no out.npy: {error}"))?;
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let voxels: Vec<f32> = bytes[header..].as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect();
        let sound = voxels.iter().all(|voxel| (0.0..=1.0 + 1e-6).contains(voxel));
        if !sound || voxels.len() != 4 * 6 * 3 {
            return Err(format!("prepared {voxels:?}"));
        }
    }
    if command.contains("--json") {
        let value: Value = serde_json::from_str(stdout).map_err(|error| format!("stdout is not JSON: {error}"))?;
        let scores = value["slice_scores"].as_array().into_iter().flatten();
        if let Some(score) = scores.into_iter().find(|score| !score.is_number()) {
            return Err(format!("a slice score is {score}: {stdout}"));
        }
    }
    if command.starts_with("convert") && !folder.join("converted/llm/model.safetensors").is_file() {
        return Err("converted to nothing".to_owned());
    }
    if command.contains("--out out.json") {
        let results =
            std::fs::read(folder.join("out.json")).map_err(|error| format!("there is no out.json: {error}"))?;
        serde_json::from_slice::<Value>(&results).map_err(|error| format!("out.json is not JSON: {error}"))?;
    }
    Ok(())
}

/// Every file below a folder with its bytes, by its path in it; links are not followed.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in next.read_dir().expect("the folder can be listed") {
            let entry = entry.expect("the folder can be listed");
            let path = entry.path();
            let kind = entry.file_type().expect("a file type");
            let place = path.strip_prefix(folder).expect("inside").to_path_buf();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_symlink() {
                found.insert(place, std::fs::read_link(path).expect("a link").into_os_string().into_encoded_bytes());
            } else {
                found.insert(place, std::fs::read(path).expect("the file can be read"));
            }
        }
    }
    found
}

/// Nothing that was there has changed, and nothing else is there, but for what the command was to write.
pub fn compare(
    before: &BTreeMap<PathBuf, Vec<u8>>,
    after: &BTreeMap<PathBuf, Vec<u8>>,
    is_output: impl Fn(&Path) -> bool,
) -> Result<(), String> {
    let odd = before.keys().chain(after.keys()).find(|path| before.get(*path) != after.get(*path) && !is_output(path));
    odd.map_or(Ok(()), |path| Err(format!("{} has changed, appeared or gone", path.display())))
}

/// Whether a file of JSON lines has more whole lines than before and every old byte.
pub fn has_grown(before: Option<&Vec<u8>>, after: Option<&Vec<u8>>) -> bool {
    let old = before.map_or(&[][..], Vec::as_slice);
    let new = after.and_then(|after| after.strip_prefix(old)).unwrap_or_default();
    let is_json = |line: &[u8]| serde_json::from_slice::<Value>(line).is_ok();
    new.strip_suffix(b"\n").is_some_and(|lines| lines.split(|&byte| byte == b'\n').all(is_json))
}

#[test]
fn only_whole_lines_of_json_count_as_growth() {
    let grown = |before: Option<&str>, after: Option<&str>| {
        let [before, after] = [before, after].map(|text| text.map(|text| text.as_bytes().to_vec()));
        has_grown(before.as_ref(), after.as_ref())
    };
    assert!(grown(None, Some("{}\n")) && grown(Some("{}\n"), Some("{}\n[1]\n2\n")));
    for (before, after) in [
        (None, Some("{}")),
        (None, Some("{}\n\n")),
        (None, Some("{\n")),
        (Some("{}\n"), Some("{}\n")),
        (Some("{}\n"), Some("[]\n{}\n")),
        (Some("{}\n"), None),
    ] {
        assert!(!grown(before, after), "{before:?} {after:?}");
    }
}

#[test]
fn wrong_endings_are_seen() {
    let ended = |status, stdout: &str, stderr: &str| Ended {
        status,
        signal: None,
        stdout: stdout.into(),
        stderr: stderr.into(),
        memory_bytes: 10 << 20,
        inherited_bytes: 20 << 20,
    };
    let expected = Expected { statuses: &[0, 3], memory_bytes: 10 << 20 };
    let judged = |ended: Ended| judge(&ended, b"file", "inspect --volume x", Path::new("."), &expected);
    assert_eq!(judged(ended(Some(0), "text", "warning: a note\n")), Ok(0));
    assert_eq!(judged(ended(Some(3), "", "warning: a note\nerror: x: is odd; mend it\n")), Ok(3));
    let long = format!("error: {}\n", "x".repeat(701));
    for (status, stdout, stderr) in [
        (None, "", "error: x: is odd; mend it\n"),
        (Some(1), "", "error: x: is odd; mend it\n"),
        (Some(3), "", ""),
        (Some(3), "half an answer", "error: x: is odd; mend it\n"),
        (Some(3), "", "error: x: is odd;\nmend it\n"),
        (Some(3), "", "error: one\nerror: two\n"),
        (Some(3), "", "error: x\u{1b}[31m: is odd; mend it\n"),
        (Some(3), "", "error: a fault in engine-cli itself\n"),
        (Some(3), "", long.as_str()),
        (Some(0), "text", "error: x: is odd; mend it\n"),
        (Some(0), "text", "\n"),
    ] {
        assert!(judged(ended(status, stdout, stderr)).is_err(), "{status:?} {stdout:?} {stderr:?}");
    }
    let much = Ended { memory_bytes: 75 << 20, ..ended(Some(0), "", "") };
    assert!(judged(much).unwrap_err().contains("memory"));
    assert_eq!(judged(Ended { memory_bytes: 75 << 20, inherited_bytes: 76 << 20, ..ended(Some(0), "", "") }), Ok(0));
    let files = |list: &[(&str, &str)]| list.iter().map(|(path, text)| (path.into(), (*text).into())).collect();
    let before = files(&[("in", "a"), ("out", "a")]);
    let is_output = |path: &Path| path.starts_with("out");
    assert_eq!(compare(&before, &files(&[("in", "a"), ("out", "b")]), is_output), Ok(()));
    for after in [vec![("in", "b"), ("out", "a")], vec![("out", "a")], vec![("in", "a"), ("out", "a"), ("x.part", "")]]
    {
        assert!(compare(&before, &files(&after), is_output).is_err(), "{after:?}");
    }
}
