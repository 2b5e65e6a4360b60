//! The `engine-cli` command.
#![forbid(unsafe_code)]

fn main() {}
