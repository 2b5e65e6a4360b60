//! A file in which every question leaves two lines, each bound to the one before it by a hash.
//!
//! A line is a JSON object on its own; its `previous` is the SHA-256 of the whole line before, 64 zeros in the first.
//! Whoever keeps the hash of the last line and the number of lines can tell later whether any was changed, swapped or
//! taken away. No text of a question or an answer is in it, only hashes.
use crate::error::{ApiError, Result};
use crate::shared::hex;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The longest line that is read; ours have a few hundred bytes.
const LINE_BYTES_MAX: u64 = 1 << 16;

/// How far a chain goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// SHA-256 of the last line, in hexadecimal digits.
    pub head: String,
    /// How many lines there are.
    pub lines: u64,
}

impl Chain {
    fn empty() -> Self {
        Self { head: "0".repeat(64), lines: 0 }
    }

    /// Takes in the next line.
    fn add(&mut self, line: &[u8]) {
        self.head = hex(&Sha256::digest(line));
        self.lines += 1;
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// A sentence that names the first line that is not as it was written, or why nothing can be read.
    pub fn read(file: impl std::io::Read) -> std::result::Result<Self, String> {
        let mut chain = Self::empty();
        let mut input = BufReader::new(file);
        loop {
            let number = chain.lines + 1;
            let mut line = Vec::new();
            let taken = std::io::Read::take(&mut input, LINE_BYTES_MAX).read_until(b'\n', &mut line);
            taken.map_err(|error| format!("line {number} cannot be read: {error}"))?;
            if line.is_empty() {
                return Ok(chain);
            }
            if line.pop() != Some(b'\n') {
                return Err(format!("line {number} is cut short or longer than any of ours"));
            }
            let found: Value = serde_json::from_slice(&line).map_err(|_| format!("line {number} is no JSON"))?;
            if found["line"] != number {
                return Err(format!("line {number} says that it is line {}: one is missing or moved", found["line"]));
            }
            if found["previous"] != chain.head.as_str() {
                return Err(format!("line {number} does not follow the line before it: one of them was changed"));
            }
            chain.add(&line);
        }
    }

    /// Compares it with what was kept elsewhere.
    ///
    /// # Errors
    /// A sentence that says how the file differs: it is longer or shorter, or ends otherwise.
    pub fn compare(&self, kept: &Chain) -> std::result::Result<(), String> {
        let lines = self.lines;
        if lines != kept.lines {
            return Err(format!(
                "there are {lines} lines, but {} were written: the tail is missing or new",
                kept.lines
            ));
        }
        if self.head != kept.head {
            return Err(format!("line {lines} is not the one that was written last"));
        }
        Ok(())
    }
}

/// The file, open and held.
pub(crate) struct Audit {
    open: Mutex<Open>,
    failed: AtomicBool,
}

struct Open {
    file: File,
    chain: Chain,
}

impl Audit {
    /// Opens the file at `path`, or creates it, and locks it against other writers.
    ///
    /// # Errors
    /// It cannot be opened, another process holds it, or it is not whole.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let refuse = |finding: String| std::io::Error::new(std::io::ErrorKind::InvalidData, finding);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.try_lock().map_err(|_| refuse("another process writes it".into()))?;
        // A device has no lines to go on with.
        let is_file = file.metadata()?.is_file();
        let chain = if is_file { Chain::read(&mut file).map_err(refuse)? } else { Chain::empty() };
        Ok(Self { open: Mutex::new(Open { file, chain }), failed: AtomicBool::new(false) })
    }

    /// How far it goes.
    pub fn chain(&self) -> Chain {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).chain.clone()
    }

    /// Whether a line could not be written, after which no question may be answered.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// Adds a line and waits until it is on disk.
    fn write(&self, kind: &str, facts: &Map<String, Value>) -> std::io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has_failed() {
            return Err(std::io::Error::other("an earlier line could not be written"));
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        let mut line = json!({ "line": open.chain.lines + 1, "previous": open.chain.head, "kind": kind, "time": time });
        line.as_object_mut().expect("an object").extend(facts.clone());
        let mut bytes = line.to_string().into_bytes();
        open.chain.add(&bytes);
        bytes.push(b'\n');
        let written = open.file.write_all(&bytes).and_then(|()| open.file.sync_data());
        if written.is_err() {
            self.failed.store(true, Ordering::SeqCst);
        }
        written
    }

    async fn write_soon(self: &Arc<Self>, kind: &'static str, facts: Map<String, Value>) -> Result<()> {
        let audit = self.clone();
        let written = tokio::task::spawn_blocking(move || audit.write(kind, &facts)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(reason = %error, "the audit cannot be written; no question is taken any more");
                Err(broken())
            }
            Err(_) => Err(broken()),
        }
    }
}

/// What is said where the audit cannot be written.
pub(crate) fn broken() -> ApiError {
    ApiError::unavailable("audit_failed", "what is answered must be recorded, and cannot be; the server's log says why")
}

/// A question that has left its first line, and leaves the second however it ends.
pub(crate) struct Entry {
    audit: Arc<Audit>,
    request: String,
    outcome: &'static str,
    is_over: bool,
}

impl Entry {
    /// Leaves the first line, with `facts`.
    ///
    /// # Errors
    /// [`broken`].
    pub async fn begin(audit: &Arc<Audit>, request: &str, mut facts: Map<String, Value>) -> Result<Self> {
        facts.insert("request".into(), request.into());
        audit.write_soon("begun", facts).await?;
        Ok(Self { audit: audit.clone(), request: request.to_owned(), outcome: "cancelled", is_over: false })
    }

    /// Sets the error code that the second line records if no answer follows.
    pub fn fail(&mut self, code: &'static str) {
        self.outcome = code;
    }

    fn last(&self, answer: Option<&[u8; 32]>, outcome: &str) -> Map<String, Value> {
        let answer = answer.map(|hash| hex(hash));
        let facts = json!({ "request": self.request, "outcome": outcome, "answer_sha256": answer });
        let Value::Object(facts) = facts else { unreachable!("an object") };
        facts
    }

    /// Leaves the second line, with the hash of the answer, whose end waits for that.
    ///
    /// # Errors
    /// [`broken`].
    pub async fn end(mut self, answer: [u8; 32]) -> Result<()> {
        self.is_over = true;
        self.audit.write_soon("ended", self.last(Some(&answer), "answered")).await
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let audit = self.audit.clone();
        let facts = self.last(None, self.outcome);
        let write = move || {
            if let Err(error) = audit.write("ended", &facts) {
                tracing::error!(reason = %error, "the audit cannot be written; no question is taken any more");
            }
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(write)),
            Err(_) => write(),
        }
    }
}

/// SHA-256 of all files below `folder`: of each path, size and content, in the order of their paths.
///
/// # Errors
/// A file cannot be read.
pub fn folder_sha256(folder: &Path) -> std::io::Result<String> {
    fn list(folder: &Path, files: &mut Vec<std::path::PathBuf>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { list(&path, files)? } else { files.push(path) }
        }
        Ok(())
    }
    let mut files = Vec::new();
    list(folder, &mut files)?;
    files.sort();
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    for path in files {
        let mut file = File::open(&path)?;
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
        sha.update((name.len() as u64).to_le_bytes());
        sha.update(name);
        sha.update(file.metadata()?.len().to_le_bytes());
        loop {
            match std::io::Read::read(&mut file, &mut buffer)? {
                0 => break,
                count => sha.update(&buffer[..count]),
            }
        }
    }
    Ok(hex(&sha.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(number: u32) -> Map<String, Value> {
        let Value::Object(facts) = json!({ "request": format!("r-{number}") }) else { unreachable!() };
        facts
    }

    fn verify(file: impl std::io::Read, kept: &Chain) -> std::result::Result<(), String> {
        Chain::read(file)?.compare(kept)
    }

    fn written(path: &Path, count: u32) -> Chain {
        let audit = Audit::open(path).unwrap();
        (0..count).for_each(|number| audit.write("begun", &facts(number)).unwrap());
        audit.chain()
    }

    #[test]
    fn whatever_is_done_to_a_line_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let kept = written(&path, 5);
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(verify(whole.as_bytes(), &kept), Ok(()));
        let lines: Vec<&str> = whole.lines().collect();
        let with = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let edited = lines[2].replace("r-2", "r-9");
        let cases = [
            (with(&[lines[0], lines[1], &edited, lines[3], lines[4]]), "line 4"),
            (with(&[lines[0], lines[2], lines[1], lines[3], lines[4]]), "line 2"),
            (with(&[lines[0], lines[2], lines[3], lines[4]]), "line 2"),
            (with(&lines[..4]), "4 lines"),
            (with(&[lines[0], lines[1], lines[2], lines[3], &lines[4].replace("r-4", "r-9")]), "line 5"),
            (whole[..whole.len() - 3].to_owned(), "line 5"),
            (String::new(), "0 lines"),
        ];
        for (text, named) in cases {
            let error = verify(text.as_bytes(), &kept).unwrap_err();
            assert!(error.contains(named), "{error}: {text}");
        }
    }

    #[test]
    fn a_file_is_gone_on_with_and_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let first = written(&path, 2);
        let again = Audit::open(&path).unwrap();
        assert_eq!(again.chain(), first);
        assert!(Audit::open(&path).is_err(), "it is held");
        again.write("ended", &facts(7)).unwrap();
        assert_eq!(verify(File::open(&path).unwrap(), &again.chain()), Ok(()));
        drop(again);
        std::fs::write(&path, "nonsense\n").unwrap();
        assert!(Audit::open(&path).is_err());
    }

    #[test]
    fn a_disk_that_is_full_ends_the_audit() {
        let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
            eprintln!("not run: there is no /dev/full");
            return;
        };
        let open = Mutex::new(Open { file: full, chain: Chain::empty() });
        let audit = Audit { open, failed: AtomicBool::new(false) };
        assert!(audit.write("begun", &facts(1)).is_err() && audit.has_failed());
    }

    #[test]
    fn a_folder_has_one_hash() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a/b"), "x").unwrap();
        let first = folder_sha256(folder.path()).unwrap();
        assert_eq!(folder_sha256(folder.path()).unwrap(), first);
        std::fs::rename(folder.path().join("a/b"), folder.path().join("a/c")).unwrap();
        assert_ne!(folder_sha256(folder.path()).unwrap(), first);
    }
}
