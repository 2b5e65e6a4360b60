//! The `engine-cli` program.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    med2e3_cli::run()
}
