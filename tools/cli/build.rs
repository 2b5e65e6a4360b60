//! Takes the unwinder into the program, so that it needs no library but the system's C library.
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Where the compiler is another, the program is linked as usual, with libgcc_s.
    let asked = Command::new("c++").arg("-print-file-name=libgcc_eh.a").output();
    let path = asked.ok().and_then(|asked| String::from_utf8(asked.stdout).ok()).map(|path| PathBuf::from(path.trim()));
    if let Some(folder) = path.as_deref().filter(|path| path.is_file()).and_then(Path::parent) {
        println!("cargo::rustc-link-search=native={}", folder.display());
        // All of it, since the standard library, which wants it, comes later.
        println!("cargo::rustc-link-lib=static:+whole-archive=gcc_eh");
    }
}
