//! The reader alone, for servers in a program that cannot start itself; `engine-cli serve` starts `engine-cli`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    let job = std::env::args().nth(1).unwrap_or_default();
    if med2e3_server::reader::run(&job) { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
