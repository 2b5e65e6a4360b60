//! Mutated inputs of every kind through the whole program, each run in a process with little memory and time.
//!
//! Whatever the input, the program ends with a documented status; a failure is one sentence on stderr; nothing is left
//! behind, and nothing that was given has changed. Cases are numbered and the same on every machine:
//! `MED2E3_CASE=npy:17` runs one again and keeps its folder, `npy:50-600` runs others than usual. There are 50 of each
//! kind, and 10,000 with `MED2E3_LONG`.

mod kinds;
mod oracle;
mod program;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use engine_tests::fuzz::mutate;
use kinds::{Kind, Place};
use oracle::Expected;

/// Cases of each kind.
const CASES: u64 = 50;
const CASES_LONG: u64 = 10_000;
/// After this many faults a kind is given up: more of them say nothing new.
const FAULTS_MAX: usize = 20;

/// A test for each kind, so that one can be run alone.
macro_rules! kinds {
    ($($name:ident)*) => { $(#[test] fn $name() { campaign(&kinds::$name()); })* };
}

kinds! { npy nifti dicom codecs images torch safetensors config tokenizer eval }

/// One mutated file, and what is run on it.
struct Case<'a> {
    seed: u64,
    place: &'a Place,
    command: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Case<'a> {
    fn new(kind: &'a Kind, seed: u64) -> Self {
        let place = pick(&kind.places, seed);
        // Neighbouring cases of the mutator are alike, and its first ones are files of a few bytes.
        let spread = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
        let turn = seed / kind.places.len() as u64;
        Self { seed, place, command: pick::<&str>(place.commands, turn), bytes: mutate(&place.seeds, spread) }
    }
}

fn pick<T>(all: &[T], turn: u64) -> &T {
    &all[(turn % all.len() as u64) as usize]
}

fn campaign(kind: &Kind) {
    let Some(seeds) = seeds_of(kind) else { return };
    let keep = seeds.end - seeds.start == 1;
    let expected = sound_runs(kind);
    let mut endings: BTreeMap<i32, u64> = BTreeMap::new();
    let mut faults = Vec::new();
    for seed in seeds {
        let case = Case::new(kind, seed);
        match run(kind, &case, &expected[&(case.place.path.as_str(), case.command)], keep) {
            Ok(status) => *endings.entry(status).or_default() += 1,
            Err(fault) => faults.push(format!("MED2E3_CASE={}:{seed} ({}): {fault}", kind.name, case.command)),
        }
        if faults.len() == FAULTS_MAX {
            break;
        }
    }
    println!("{}: cases by exit status {endings:?}", kind.name);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let both = endings.contains_key(&0) && endings.len() > 1;
    assert!(keep || both, "{}: every case ended alike, {endings:?}", kind.name);
}

/// The cases of a kind to run: those that `MED2E3_CASE` names, which may be of another kind, or the usual ones.
fn seeds_of(kind: &Kind) -> Option<Range<u64>> {
    let Ok(named) = std::env::var("MED2E3_CASE") else {
        return Some(0..if std::env::var_os("MED2E3_LONG").is_some() { CASES_LONG } else { CASES });
    };
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("MED2E3_CASE={named} is not KIND:SEED"));
    let (name, seeds) = named.split_once(':').expect("MED2E3_CASE is KIND:SEED or KIND:FROM-TO");
    let (from, to) = match seeds.split_once('-') {
        Some((from, to)) => (number(from), number(to)),
        None => (number(seeds), number(seeds) + 1),
    };
    (name == kind.name).then_some(from..to)
}

/// Every command on the files as they are: it must succeed, and what it takes is the measure for the others.
fn sound_runs(kind: &Kind) -> BTreeMap<(&str, &str), Expected> {
    let mut expected = BTreeMap::new();
    for place in &kind.places {
        for seed in place.seeds.iter().take(1) {
            for &command in place.commands {
                let case = Case { seed: 0, place, command, bytes: seed.file() };
                let generous = Expected { statuses: &[0], memory_bytes: program::ADDRESS_BYTES_MAX };
                let folder = lay_out(kind, &case);
                let ended = program::run(folder.path(), &line(&case));
                let judged = oracle::judge(&ended, &case.bytes, command, folder.path(), &generous);
                judged.unwrap_or_else(|fault| panic!("{}, {}, {command}: {fault}", kind.name, place.path));
                let measured = Expected { statuses: kind.statuses, memory_bytes: ended.memory_bytes };
                expected.insert((place.path.as_str(), command), measured);
            }
        }
    }
    expected
}

/// Runs a case; the exit status, or what was wrong with how it ended.
fn run(kind: &Kind, case: &Case<'_>, expected: &Expected, keep: bool) -> Result<i32, String> {
    let folder = lay_out(kind, case);
    let before = oracle::contents(folder.path());
    let ended = program::run(folder.path(), &line(case));
    if keep {
        println!("case {} is in {}\n{}", case.seed, folder.path().display(), String::from_utf8_lossy(&ended.stderr));
    }
    let status = oracle::judge(&ended, &case.bytes, case.command, folder.path(), expected);
    let status = status.and_then(|status| {
        let after = oracle::contents(folder.path());
        let is_output = |path: &Path| kind.outputs.iter().any(|output| path.starts_with(output));
        // What a run answered before it failed is kept, and the next run continues from there.
        let is_grown = |path: &Path| is_output(path) && oracle::has_grown(before.get(path), after.get(path));
        let is_ours = |path: &Path| if status == 0 { is_output(path) } else { is_grown(path) };
        oracle::compare(&before, &after, is_ours).map(|()| status)
    });
    if keep {
        let _kept = folder.keep();
    }
    status
}

/// A folder with the kind's sound files, and the case's in its place.
fn lay_out(kind: &Kind, case: &Case<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (path, content) in &kind.sound {
        kinds::put(&folder.path().join(path), content);
    }
    let target = folder.path().join(&case.place.path);
    let _ = std::fs::remove_file(&target);
    kinds::put(&target, &kinds::Content::Bytes(case.bytes.clone()));
    folder
}

/// The command's words, with the mutated file's path where it says so.
fn line(case: &Case<'_>) -> Vec<String> {
    case.command.split_whitespace().map(|word| word.replace("{}", &case.place.path)).collect()
}
