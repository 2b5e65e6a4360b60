//! The settings of a server.
use crate::Keys;
use med2e3::volume::{Window, WindowChoice};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Choices made once, at the start.
#[derive(Clone, Debug)]
pub struct Config {
    /// What `/v1/models` calls the model, and requests may too.
    pub model: String,
    /// Who may ask; without any key, everyone who reaches the server.
    pub keys: Keys,
    /// Names, besides those of this machine, by which a server without keys may be called in the header `Host`.
    pub hosts: Vec<String>,
    /// Where uploads are kept; files there have no name and end with the process.
    pub spool: PathBuf,
    /// The program that decodes scans.
    pub reader: ReaderProgram,
    /// The window of a scan unless its upload or the question says another.
    pub window: WindowChoice,
    /// The window that the model was trained with.
    pub model_window: Option<Window>,
    /// Whether special tokens in a text that a user typed are those tokens, as in the official code, and not text.
    pub official_tokens: bool,
    /// What the first part of each metric's name is.
    pub metrics_prefix: String,
    /// What the server proves its name with; without it, it speaks in clear.
    pub tls: Option<TlsFiles>,
    /// Where every question leaves its lines, if anywhere.
    pub audit: Option<AuditConfig>,
    /// What a client may take.
    pub limits: Limits,
}

/// The program that decodes scans: called with `arguments` and one more, it must be [`crate::reader::run`].
#[derive(Clone, Debug)]
pub struct ReaderProgram {
    /// Its file.
    pub program: PathBuf,
    /// What comes before the job.
    pub arguments: Vec<OsString>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, and those that vouch for it, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Where questions are recorded, and what is the same for all of them.
#[derive(Clone, Debug)]
pub struct AuditConfig {
    /// The file; it is gone on with where it is there.
    pub file: PathBuf,
    /// The program and its version.
    pub program: String,
}

/// What clients may take, each and in all.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one upload.
    pub upload: u64,
    /// Bytes of a body of JSON.
    pub body: usize,
    /// Bytes of all uploads and decoded scans together.
    pub spool: u64,
    /// Files that are kept at a time.
    pub files: usize,
    /// How long a file is kept unless its upload says otherwise.
    pub expire: Duration,
    /// Questions that wait or run at a time; one more is refused with 429.
    pub questions: usize,
    /// How long a question may take, waiting included.
    pub question: Duration,
    /// How long an upload may take.
    pub upload_time: Duration,
    /// How long a client may take to send a request's head, the next part of a body, or to read the next part of an
    /// answer.
    pub idle: Duration,
    /// Connections at a time; more wait until one ends.
    pub connections: usize,
    /// Memory of a process that decodes a scan, bytes of address space.
    pub decode_memory: u64,
    /// How long it may take.
    pub decode_time: Duration,
    /// How many of them run at a time.
    pub decoders: usize,
    /// How long answers may go on after the server was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            upload: 2 << 30,
            body: 64 << 20,
            spool: 32 << 30,
            files: 4096,
            expire: Duration::from_secs(24 * 60 * 60),
            questions: 1024,
            question: Duration::from_secs(600),
            upload_time: Duration::from_secs(600),
            idle: Duration::from_secs(30),
            connections: 1024,
            decode_memory: 8 << 30,
            decode_time: Duration::from_secs(120),
            decoders: 2,
            drain: Duration::from_secs(30),
        }
    }
}
