//! Writes inputs for the fuzz targets, a folder per target: the seeds, and of every way in which mutated ones end the
//! smallest. Where a coverage-guided fuzzer starts, and what `corpus/` is made of.
//!
//! `cargo run -p engine-tests --example fuzz_corpus -- FOLDER [TARGET]...`
use engine_tests::fuzz::{CORPUS_FILE_BYTES_MAX, TARGETS, Target, mutate};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Mutations that are tried for each target.
const CASES: u64 = 6000;
/// Files that are kept of each target beside its seeds: the smallest.
const FILES_MAX: usize = 24;

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "corpus".into()));
    let names: Vec<String> = arguments.collect();
    for target in TARGETS.iter().filter(|target| names.is_empty() || names.iter().any(|name| name == target.name)) {
        let files = write_target(target, &folder.join(target.name))?;
        println!("{}: {files} files", target.name);
    }
    Ok(())
}

/// Writes the inputs of a target; how many there are.
fn write_target(target: &Target, folder: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let seeds = (target.seeds)();
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for (number, seed) in seeds.iter().enumerate() {
        files.push((format!("seed-{number}"), seed.file()));
    }
    let mut smallest: BTreeMap<String, (u64, Vec<u8>)> = BTreeMap::new();
    for index in 0..CASES {
        let bytes = mutate(&seeds, index);
        // What makes a reader panic is mended, not kept.
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| (target.read)(&bytes))) else { continue };
        let Err(message) = outcome else { continue };
        let kept = smallest.entry(kind_of(&message)).or_insert_with(|| (index, bytes.clone()));
        if bytes.len() < kept.1.len() {
            *kept = (index, bytes);
        }
    }
    let mut mutants: Vec<(u64, Vec<u8>)> = smallest.into_values().collect();
    mutants.sort_by_key(|(index, bytes)| (bytes.len(), *index));
    mutants.truncate(FILES_MAX);
    files.extend(mutants.into_iter().map(|(index, bytes)| (format!("case-{index}"), bytes)));
    files.retain(|(_, bytes)| bytes.len() as u64 <= CORPUS_FILE_BYTES_MAX);
    files.iter().try_for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes))?;
    Ok(files.len())
}

/// A message without what differs from file to file: names, numbers and quoted texts.
fn kind_of(message: &str) -> String {
    let unquoted: String = message.split(['"', '`', '\'']).step_by(2).collect();
    let words = unquoted.split_whitespace().filter(|word| word.chars().all(|c| c.is_ascii_alphabetic()));
    words.take(12).collect::<Vec<_>>().join(" ")
}
