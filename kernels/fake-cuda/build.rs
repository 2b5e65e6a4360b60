//! Names every emulated kernel, as the build of `kernels` listed them.
use std::env::var;
use std::path::PathBuf;

fn main() {
    let list = var("DEP_MED2E3_KERNELS_ENTRIES").expect("kernels lists its entry points");
    println!("cargo::rerun-if-changed={list}");
    let list = std::fs::read_to_string(list).expect("the list is text");
    let lines: Vec<(&str, &str)> = list.lines().filter_map(|line| line.split_once('\t')).collect();
    let declare = |(name, _): &(&str, &str)| format!("    fn simt_plain_{name}(params: *const std::ffi::c_void);\n");
    let row = |(name, bytes): &(&str, &str)| format!("    (\"{name}\", simt_plain_{name}, {bytes}),\n");
    let code = format!(
        "unsafe extern \"C\" {{\n{}}}\n\
         /// Every kernel: its name, its emulation, the bytes of its parameter block.\n\
         const ENTRIES: &[(&str, med2e3_simt::Entry, usize)] = &[\n{}];\n",
        lines.iter().map(declare).collect::<String>(),
        lines.iter().map(row).collect::<String>(),
    );
    let out = PathBuf::from(var("OUT_DIR").expect("cargo sets it")).join("entries.rs");
    std::fs::write(out, code).expect("OUT_DIR is writable");
}
