//! The `engine-cli` program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    engine_cli::run()
}
