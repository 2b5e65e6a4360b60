//! Tasks of developers: `cargo xtask TASK`. Scripts in `tools/` start them under the names that people know.
#![forbid(unsafe_code)]

mod budget;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask TASK

kernel-budget             compare what the machine code of every kernel takes with kernels/budget.tsv
kernel-budget --update    write the table, then compare";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["kernel-budget"] => budget::run(false),
        ["kernel-budget", "--update"] => budget::run(true),
        ["--help" | "-h"] => Ok(USAGE.to_owned()),
        _ => {
            eprintln!("xtask: cannot be run with '{}'\n{USAGE}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
