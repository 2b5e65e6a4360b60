//! The command line: what can be typed, and which command it starts.

use std::io::IsTerminal;
use std::time::Instant;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use crate::failure::{Failure, Result};
#[cfg(feature = "server")]
use crate::{audit, serve};
use crate::{
    bench, completions, convert, doctor, eval, generate, inspect, interrupt, make_model, output, phantom, plan,
    preprocess, threads,
};

/// Answers questions about CT volumes with Med-2E3. A research tool, not a medical device.
#[derive(Debug, Parser)]
#[command(name = "engine-cli", version, max_term_width = 110)]
pub struct Cli {
    /// Threads to compute with [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(generate::Generate),
    Eval(eval::Eval),
    Preprocess(preprocess::Preprocess),
    Inspect(inspect::Inspect),
    Convert(convert::Convert),
    Phantom(phantom::Phantom),
    Plan(plan::Plan),
    Bench(bench::Bench),
    MakeModel(make_model::MakeModel),
    #[cfg(feature = "server")]
    Serve(Box<serve::Serve>),
    #[cfg(feature = "server")]
    Audit(audit::Audit),
    #[cfg(feature = "server")]
    ReadScan(serve::ReadScan),
    Doctor(doctor::Doctor),
    Completions(completions::Completions),
}

/// Parses the command line and runs the command. `Err(None)` has been reported already.
pub fn run() -> Result<(), Option<Failure>> {
    let started = Instant::now();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            let text = error.render();
            let terminal = std::io::stdout().is_terminal();
            let text = if terminal { text.ansi().to_string() } else { text.to_string() };
            return output::print(&text).map(|_| ()).map_err(Some);
        }
        Err(error) => return Err(Some(usage(&error))),
    };
    threads::start(cli.threads).map_err(Some)?;
    let done = match cli.command {
        Command::Generate(command) => command.run(started),
        Command::Eval(command) => command.run(),
        Command::Preprocess(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Convert(command) => command.run(),
        Command::Phantom(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::MakeModel(command) => command.run(),
        #[cfg(feature = "server")]
        Command::Serve(command) => command.run(),
        #[cfg(feature = "server")]
        Command::Audit(command) => command.run(),
        #[cfg(feature = "server")]
        Command::ReadScan(command) => return command.run().then_some(()).ok_or(None),
        Command::Doctor(command) => command.run(),
        Command::Completions(command) => command.run(),
    };
    done.map(|()| interrupt::finish()).map_err(Some)
}

/// clap's message of several lines as one sentence.
fn usage(error: &clap::Error) -> Failure {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command is given; see engine-cli --help");
    }
    let text = error.to_string();
    let finding = text.split("\n\nUsage:").next().unwrap_or(&text).split("\n\nFor more").next().unwrap_or(&text);
    let words: Vec<&str> = finding.trim_start_matches("error: ").split_whitespace().collect();
    Failure::usage(format!("{}; see --help", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_sentence() {
        for line in ["generate", "generate --model a --volume b --prompt c --top-p 2", "nonsense", "inspect --jsn"] {
            let error = Cli::try_parse_from(["engine-cli"].into_iter().chain(line.split(' '))).unwrap_err();
            let message = usage(&error).message;
            assert!(!message.contains('\n') && message.ends_with("; see --help"), "{message}");
        }
    }
}
