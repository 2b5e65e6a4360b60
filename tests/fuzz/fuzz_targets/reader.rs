//! libFuzzer over one reader of untrusted bytes; the environment variable `FUZZ_TARGET` names it.
#![no_main]

use engine_tests::fuzz::{Target, target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").expect("set FUZZ_TARGET to a target's name, see the README");
    target(&name)
});

fuzz_target!(|bytes: &[u8]| {
    // An error is the expected answer to damage; only a crash, a hang or too much memory is a finding.
    let _ = (TARGET.read)(bytes);
});
