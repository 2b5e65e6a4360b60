//! Med-2E3 over HTTP: a scan is uploaded once and asked many questions, by the clients that people already have.
//!
//! [`Server::run`] answers on a listener until it is told to stop. It listens before the model is loaded, so that a
//! supervisor sees a process that lives and is not ready yet. Handlers are thin: what they need to know is in a
//! `Shared`, and the model is a [`med2e3::Engine`], which runs on a thread of its own.
//!
//! # Memory and disk
//! An upload goes to the spool, files that no folder lists: the system drops them when the process ends, however it
//! ends. Scans are decoded by another process with a limit on memory and time ([`reader`]), so that no scan can take
//! the server along; what comes back has the size of the model's input. Bodies that are held in memory have a limit
//! each, and large ones take turns.
//!
//! # What is said of patients
//! Questions, answers, names of files and what scans tell of patients stand in no log, metric or error's log line; they
//! go to the key that sent them alone.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod ask;
pub mod audit;
mod config;
mod error;
mod files;
mod http;
mod keys;
mod metrics;
pub mod reader;
mod server;
mod shared;
mod spool;
mod tls;

pub use config::{AuditConfig, Config, Limits, ReaderProgram, TlsFiles};
pub use http::fields::{CHAT_FIELDS, COMPLETION_FIELDS, Field, SCORE_FIELDS, Treatment, field_tables};
pub use keys::Keys;
pub use server::Server;
