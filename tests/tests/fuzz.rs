//! Mutated files make every reader fail politely: no panic, in bounded time, with bounded memory.
//!
//! Committed inputs come first, then mutated seeds for `FUZZ_SECONDS` per target. Cases are numbered and the same on
//! every machine: `FUZZ_CASE=123` runs one again, for a debugger. The number of a case that ended the whole process
//! stays in a file in the build folder.
use cap::Cap;
use engine_tests::fuzz::{CORPUS_FILE_BYTES_MAX, Kept, Seed, TARGETS, Target, corpus, corpus_folder};
use engine_tests::fuzz::{mutate, read_dicom_file, target};
use std::alloc::System;
use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, mpsc};
use std::time::{Duration, Instant};

/// Refuses what would take the whole process past the 1 GiB that a bad input may cost.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 1 << 30);
/// Allocations are counted for the whole process, so one target runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// All that a case may allocate, freed or not: a flat part, and a multiple of the file.
const ALLOCATED_BYTES_MAX: usize = 64 << 20;
const ALLOCATED_PER_BYTE_MAX: usize = 64;
/// What a bad input may take, on a machine that does other things too.
const CASE_TIME_MAX: Duration = Duration::from_secs(10);

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs one case: whether the input was accepted, or what was wrong with how the reader ended.
fn judge(target: &Target, input: &[u8]) -> Result<bool, String> {
    let before = ALLOCATOR.total_allocated();
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    let took = start.elapsed();
    let allocated = ALLOCATOR.total_allocated() - before;
    let allowed = ALLOCATED_BYTES_MAX + ALLOCATED_PER_BYTE_MAX * input.len();
    match outcome {
        Err(_) => Err("it panicked".into()),
        Ok(_) if took > CASE_TIME_MAX => Err(format!("it took {took:?}")),
        Ok(_) if allocated > allowed => Err(format!("it allocated {allocated} bytes for a file of {}", input.len())),
        Ok(Err(message)) if message.is_empty() || message.contains('\n') || message.len() > 2000 => {
            Err(format!("its message is not one sentence: {message:?}"))
        }
        Ok(outcome) => Ok(outcome.is_ok()),
    }
}

/// Ends the process if nobody reports in time: a reader that hangs cannot be stopped otherwise.
fn watch(name: &'static str, kept: PathBuf) -> mpsc::Sender<()> {
    let (alive, heard) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        loop {
            match heard.recv_timeout(2 * CASE_TIME_MAX) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: no end after {:?}; the case is in {}", 2 * CASE_TIME_MAX, kept.display());
                    std::process::abort();
                }
            }
        }
    });
    alive
}

/// A number given by an environment variable.
fn given(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, not a whole number")))
}

fn fuzz(name: &'static str) {
    let target = target(name);
    fuzz_from(target, &corpus(target), &(target.seeds)());
}

fn fuzz_from(target: &Target, kept: &[Kept], seeds: &[Seed]) {
    let _alone = alone();
    let name = target.name;
    let running = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}.case"));
    // Written beforehand: a refused allocation or a hang ends the process.
    let mut current = File::create(&running).expect("the build folder can be written");
    let alive = watch(name, running.clone());
    let only = given("FUZZ_CASE");
    let time = Duration::from_secs(given("FUZZ_SECONDS").unwrap_or(3));
    for Kept { path, bytes } in kept {
        if let Err(why) = judge(target, bytes) {
            panic!("{}: {why}", path.display());
        }
        alive.send(()).expect("the watch outlives the cases");
    }
    let start = Instant::now();
    let mut cases = 0;
    let mut accepted = 0;
    while start.elapsed() < time && (only.is_none() || cases == 0) {
        let index = only.unwrap_or(cases);
        current.rewind().and_then(|()| current.write_all(format!("{index:20}").as_bytes())).expect("the disk has room");
        match judge(target, &mutate(seeds, index)) {
            Ok(is_accepted) => accepted += usize::from(is_accepted),
            Err(why) => panic!("{name}, case {index}: {why}; FUZZ_CASE={index} runs it again"),
        }
        cases += 1;
        alive.send(()).expect("the watch outlives the cases");
    }
    std::fs::remove_file(&running).expect("the file was just written");
    println!("{name}: {cases} cases in {:?}, {accepted} of them still readable", start.elapsed());
    assert!(only.is_some() || cases > 100, "only {cases} cases");
}

/// A test for each target, so that one can be run alone.
macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_has_a_test() {
            let named: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(named, [$(stringify!($name)),*]);
        }
    };
}

targets! {
    safetensors torch_zip index config model_folder tokenizer_json tokenizer_model tokenizer_settings bert_tokenizer
    nifti nifti_pair nrrd metaimage npy dicom dicom_codecs dicomdir zip images detect eval_data eval_results
}

/// Real files bring what seeds built in code do not: JPEG, JPEG-LS and JPEG 2000 streams.
#[test]
fn dicom_of_the_shared_data() {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = std::env::var_os("MED2E3_SHARED_DATA").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let Ok(files) = std::fs::read_dir(root.join("dicom/single")) else {
        eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
        return;
    };
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("the folder can be listed").path()).collect();
    paths.sort();
    let contents = paths.iter().map(|path| std::fs::read(path).expect("the file can be read"));
    let small = contents.filter(|bytes| bytes.len() <= 64 << 10);
    let seeds: Vec<Seed> = small.map(Seed::whole).collect();
    assert!(seeds.len() > 5, "only {} small files", seeds.len());
    fuzz_from(&Target { name: "dicom_shared", seeds: Vec::new, read: read_dicom_file }, &[], &seeds);
}

#[test]
fn seeds_are_accepted_and_most_mutations_change_them() {
    let _alone = alone();
    for target in TARGETS {
        let seeds = (target.seeds)();
        for (number, seed) in seeds.iter().enumerate() {
            assert_eq!((target.read)(&seed.file()), Ok(()), "{}, seed {number}", target.name);
        }
        let refused = (0..200).filter(|&index| (target.read)(&mutate(&seeds, index)).is_err()).count();
        // A series is read without a slice that is damaged.
        assert!(refused > 10, "{}: only {refused} of 200 mutations were refused", target.name);
    }
}

#[test]
fn every_target_has_a_corpus_of_small_files() {
    for target in TARGETS {
        let kept = corpus(target);
        assert!(kept.len() >= 3, "{}: {} files", target.name, kept.len());
        for Kept { path, bytes } in kept {
            assert!(bytes.len() as u64 <= CORPUS_FILE_BYTES_MAX, "{}: {} bytes", path.display(), bytes.len());
        }
    }
    let folders = corpus_folder().read_dir().expect("committed");
    for folder in folders.map(|entry| entry.expect("the folder can be listed")).filter(|entry| entry.path().is_dir()) {
        target(folder.file_name().to_str().expect("a target's name"));
    }
}

#[test]
fn a_bad_reader_is_caught() {
    let _alone = alone();
    let seeds = || vec![Seed::whole(vec![0; 4])];
    let caught = |read: fn(&[u8]) -> Result<(), String>| judge(&Target { name: "bad", seeds, read }, &[0; 4]);
    assert_eq!(caught(|_| Ok(())), Ok(true));
    assert_eq!(caught(|_| Err("x: is not a scan; give a scan".into())), Ok(false));
    let panics = caught(|bytes| {
        assert_ne!(bytes[0], 0, "on purpose");
        Ok(())
    });
    assert!(panics.unwrap_err().contains("panicked"));
    let allocates = caught(|_| {
        drop(std::hint::black_box(vec![1u8; 65 << 20]));
        Ok(())
    });
    assert!(allocates.unwrap_err().contains("allocated"));
    assert!(caught(|_| Err("two\nlines".into())).unwrap_err().contains("one sentence"));
}

#[test]
fn cases_repeat() {
    let seeds = (target("npy").seeds)();
    for index in 0..200 {
        assert_eq!(mutate(&seeds, index), mutate(&seeds, index));
    }
}
