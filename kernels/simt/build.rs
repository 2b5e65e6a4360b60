//! Compiles the one C++ object of the emulator and tells dependents where its header is.
use std::env::var;

fn main() {
    let folder = var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    cc::Build::new().cpp(true).std("c++17").opt_level(2).file("src/self.cpp").compile("simt_self");
    println!("cargo::metadata=include={folder}/include");
    println!("cargo::rerun-if-changed=src/self.cpp");
}
