//! `bench`: what a user waits for, on this machine and this model.

mod latency;

use clap::{Args, Subcommand};

use crate::failure::Result;

/// Time what a user waits for
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Latency(latency::Latency),
}

impl Bench {
    /// Runs the benchmark and prints its figures.
    pub fn run(&self) -> Result<()> {
        match &self.what {
            What::Latency(latency) => latency.run(),
        }
    }
}
