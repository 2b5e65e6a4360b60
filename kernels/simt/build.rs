//! Compiles the C++ object of the emulator, tells dependents where its header is, and, for the emulator's own tests,
//! compiles their kernels: plain, and with memory accesses reported.
use std::env::{var, var_os};
use std::path::{Path, PathBuf};

fn main() {
    let folder = PathBuf::from(var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let include = folder.join("include");
    println!("cargo::metadata=include={}", include.display());
    println!("cargo::rerun-if-changed=src/self.cpp");
    println!("cargo::rerun-if-changed=include");
    // Miri interprets Rust alone.
    if var_os("CARGO_CFG_MIRI").is_some() {
        return;
    }
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .include(&include)
        .flag("-Wno-unused-function")
        .file("src/self.cpp")
        .compile("simt_self");
    if var_os("CARGO_FEATURE_PLANTED").is_some() {
        compile_planted(&folder);
    }
}

/// The kernels of `tests/cuda`, in libraries that only the tests link.
fn compile_planted(folder: &Path) {
    let kernels = folder.join("tests/cuda");
    let mut sources: Vec<PathBuf> = std::fs::read_dir(&kernels)
        .expect("the tests have kernels")
        .filter_map(|file| Some(file.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "cu"))
        .collect();
    sources.sort();
    for checked in [false, true] {
        let prefix = if checked { "planted_checked_" } else { "planted_plain_" };
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).cargo_metadata(false);
        build.include(folder.join("include")).include(folder.join("../include"));
        build.define("SIMT_PREFIX", Some(prefix)).flag("-xc++").flag("-ffp-contract=off").flag("-fno-strict-aliasing");
        build.flag("-Wall").flag("-Wextra").flag("-Werror").flag("-Wno-unknown-pragmas");
        if checked {
            build.flag("-fsanitize=thread").flag("--param=tsan-instrument-func-entry-exit=0").flag("-g1");
            build.flag("-fsanitize=shift,integer-divide-by-zero,signed-integer-overflow,bounds,pointer-overflow");
            build.flag("-fsanitize=bool,enum,unreachable,return,float-cast-overflow");
        }
        build.files(&sources).compile(&format!("{prefix}kernels"));
    }
    println!("cargo::rustc-link-search=native={}", var("OUT_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=tests/cuda");
    println!("cargo::rerun-if-changed=../include");
}
