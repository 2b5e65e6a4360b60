//! Compiles every kernel: for the emulator twice, plain and with memory accesses reported, and for GPUs where the
//! compiler is at hand. Nothing is compiled for Miri.
#[cfg(any(feature = "cuda", feature = "emulator"))]
use std::env::var;
#[cfg(any(feature = "cuda", feature = "emulator"))]
use std::path::{Path, PathBuf};

#[cfg(feature = "cuda")]
#[path = "build/gpu.rs"]
mod gpu;
#[cfg(feature = "cuda")]
#[path = "build/nvrtc.rs"]
mod nvrtc;

/// A build for the processor alone compiles no kernel.
#[cfg(not(any(feature = "cuda", feature = "emulator")))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(any(feature = "cuda", feature = "emulator"))]
fn main() {
    let folder = PathBuf::from(var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut sources = kernel_sources(&folder.join("src/ops"));
    sources.push(folder.join("src/primitives/kernel.cu"));
    println!("cargo::rerun-if-changed=include");
    println!("cargo::rerun-if-changed=build");
    for source in &sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    // An op's first kernel.cu is no known source yet, but its launcher changes with it.
    for folder in op_folders(&folder.join("src/ops")) {
        println!("cargo::rerun-if-changed={}", folder.join("launch.rs").display());
    }
    // Miri interprets Rust alone. Cargo tells build scripts that the crate is built for it; no feature says so, since
    // one could be left on by a crate that depends on this one.
    let miri = std::env::var_os("CARGO_CFG_MIRI").is_some();
    if miri {
        sources.clear();
    }
    #[cfg(feature = "cuda")]
    gpu::embed(&folder, &sources);
    #[cfg(feature = "emulator")]
    if !miri {
        emulate(&folder, &sources);
    }
}

#[cfg(feature = "emulator")]
fn emulate(folder: &Path, sources: &[PathBuf]) {
    let emulator = var("DEP_MED2E3_SIMT_SIMT_INCLUDE")
        .or_else(|_| var("DEP_MED2E3_SIMT_INCLUDE"))
        .expect("simt names its headers");
    println!("cargo::rerun-if-changed={emulator}");
    let build = |prefix: &str, checked: bool| {
        let mut build = cc::Build::new();
        build.cpp(true).std("c++17").opt_level(2).include(&emulator).include(folder.join("include"));
        build.define("SIMT_PREFIX", Some(prefix)).flag("-xc++").flag("-ffp-contract=off").flag("-fno-strict-aliasing");
        build.flag("-Wall").flag("-Wextra").flag("-Werror").flag("-Wno-unknown-pragmas");
        if checked {
            build.flag("-fsanitize=thread").flag("--param=tsan-instrument-func-entry-exit=0").flag("-g1");
            build.flag("-fsanitize=shift,integer-divide-by-zero,signed-integer-overflow,bounds,pointer-overflow");
            build.flag("-fsanitize=bool,enum,unreachable,return,float-cast-overflow");
        }
        build.files(sources).compile(&format!("{prefix}kernels"));
    };
    build("simt_plain_", false);
    build("simt_checked_", true);
}

#[cfg(any(feature = "cuda", feature = "emulator"))]
fn op_folders(ops: &Path) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(ops).expect("the ops lie in src/ops").filter_map(Result::ok);
    folders.map(|folder| folder.path()).filter(|path| path.is_dir()).collect()
}

/// Every `kernel*.cu` of an op.
#[cfg(any(feature = "cuda", feature = "emulator"))]
fn kernel_sources(ops: &Path) -> Vec<PathBuf> {
    let mut sources: Vec<PathBuf> = op_folders(ops)
        .into_iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flat_map(|files| files.filter_map(Result::ok).map(|file| file.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "cu"))
        .collect();
    sources.sort();
    sources
}
