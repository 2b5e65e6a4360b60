//! The `engine-cli` command: Med-2E3 from the command line.
#![forbid(unsafe_code)]
// What is said goes through `streams.rs`, which knows closed pipes and bounds sentences.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod args;
#[cfg(feature = "server")]
mod audit;
mod bench;
mod canvas;
mod chart;
mod cli;
mod completions;
mod convert;
mod disk;
mod doctor;
mod eval;
mod failure;
mod generate;
mod inspect;
mod interrupt;
mod make_model;
mod montage;
mod output;
mod phantom;
mod plan;
mod preprocess;
mod progress;
#[cfg(feature = "server")]
mod serve;
mod streams;
mod target;
mod terminal;
mod threads;
mod volume_report;

use std::process::ExitCode;

/// Runs the command line that the process was given, and reports on stderr why it failed.
pub fn run() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        if med2e3_loaders::guard::is_guarded() {
            return;
        }
        let place = panic.to_string().replace('\n', " ");
        output::note(&format!("error: a fault in engine-cli itself ({place}); please report it with the command line"));
    }));
    med2e3_loaders::mmap::end_on_lost_bytes();
    interrupt::install();
    let outcome = std::panic::catch_unwind(cli::run).unwrap_or(Err(None));
    interrupt::settle();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Some(failure)) => {
            output::note(&format!("error: {failure}"));
            failure.status.into()
        }
        Err(None) => failure::Status::Runtime.into(),
    }
}
