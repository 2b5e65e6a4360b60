//! What a command says: results on stdout, everything else on stderr.

use std::io::{self, ErrorKind, Write};

use med2e3_loaders::sentence::sentence;

use crate::failure::{Failure, Result};

/// Whether someone still reads our stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The text was taken.
    Listening,
    /// The pipe is closed, as `head` does it: there is no point in going on, and nothing wrong.
    Gone,
}

/// Writes text to stdout at once.
pub fn print(text: &str) -> Result<Reader> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::runtime(format!("cannot write to stdout: {error}; check where it leads"))),
    }
}

/// Writes a value to stdout as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::runtime(format!("cannot write the result as JSON: {error}")))?;
    print(&(text + "\n")).map(|_| ())
}

/// Writes a line to stderr, in the bounds of [`sentence`]. A stderr that is closed is not worth failing for.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", sentence(text));
}
