//! `audit`: whether a server's record of its questions is as it was written.

use std::fs::File;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use med2e3_server::audit::Chain;

use crate::failure::{Failure, Result};
use crate::output;

/// Look at what `serve --audit` has recorded
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Verify(Verify),
}

/// Check that no line was changed, swapped or taken away; prints the last line's hash and the number of lines
#[derive(Debug, Args)]
struct Verify {
    /// The record
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    /// The last line's hash, as it was kept elsewhere; with --lines, a missing end is found too
    #[arg(long, value_name = "HASH", requires = "lines")]
    head: Option<String>,
    /// How many lines were written
    #[arg(long, value_name = "N", requires = "head")]
    lines: Option<u64>,
}

impl Audit {
    /// Checks the record.
    pub fn run(&self) -> Result<()> {
        let What::Verify(Verify { file, head, lines }) = &self.what;
        let failed = |finding: String| Failure::input(format!("{}: {finding}; look for a copy", file.display()));
        let open = File::open(file).map_err(|error| med2e3_loaders::Error::io(file, "open", error))?;
        let found = Chain::read(open).map_err(failed)?;
        if let (Some(head), &Some(lines)) = (head, lines) {
            found.compare(&Chain { head: head.to_ascii_lowercase(), lines }).map_err(failed)?;
        }
        output::print(&format!("{} lines, head {}\n", found.lines, found.head)).map(|_| ())
    }
}
