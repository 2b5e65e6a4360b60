//! What is fuzzed: for each reader of untrusted bytes, small valid inputs and a function that reads them.
//!
//! `tests/fuzz.rs` mutates the seeds on stable Rust and watches time and memory; the libFuzzer targets under
//! `tests/fuzz/` call the same functions. What a reader accepts is checked here: a function that finds a wrong result
//! panics, so that either fuzzer reports it.
mod archives;
mod dicom;
mod eval;
mod grids;
mod images;
mod models;
mod mutate;
mod seeds;
mod tokenizers;
mod volumes;
mod weights;

pub use dicom::{read_file as read_dicom_file, slice as dicom_slice};
pub use models::with_header;
pub use mutate::mutate;
pub use weights::with_pickle;

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A valid input, and what to do to mutated bytes before they are read.
#[derive(Clone)]
pub struct Seed {
    /// The part that is mutated.
    pub bytes: Vec<u8>,
    envelope: Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>,
}

impl Seed {
    /// A file that is mutated as it is.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self::part(bytes, |bytes| bytes)
    }

    /// A part of a file, and what puts it into its envelope: a length, a checksum or a compression that would
    /// otherwise refuse nearly every mutation before the reader sees it.
    pub fn part(bytes: Vec<u8>, envelope: impl Fn(Vec<u8>) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { bytes, envelope: Arc::new(envelope) }
    }

    /// The file around a mutation of `bytes`.
    pub fn wrap(&self, bytes: Vec<u8>) -> Vec<u8> {
        (self.envelope)(bytes)
    }

    /// The file as it was before any mutation.
    pub fn file(&self) -> Vec<u8> {
        self.wrap(self.bytes.clone())
    }
}

/// A reader and what it accepts.
pub struct Target {
    /// Also the name of the libFuzzer target and of the corpus' folder.
    pub name: &'static str,
    /// Inputs that must be accepted as they are.
    pub seeds: fn() -> Vec<Seed>,
    /// Reads bytes as if a user had given them. The error is what the user would see.
    ///
    /// # Panics
    /// If what it accepts is not what it promises.
    pub read: fn(&[u8]) -> Result<(), String>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", seeds: seeds::safetensors, read: weights::read_safetensors },
    Target { name: "torch_zip", seeds: seeds::torch_zip, read: weights::read_torch_zip },
    Target { name: "index", seeds: weights::index_seeds, read: weights::read_index },
    Target { name: "config", seeds: seeds::config, read: models::read_config },
    Target { name: "model_folder", seeds: models::seeds, read: models::read_folder },
    Target { name: "tokenizer_json", seeds: tokenizers::json_seeds, read: tokenizers::read_json },
    Target { name: "tokenizer_model", seeds: tokenizers::model_seeds, read: tokenizers::read_model },
    Target { name: "tokenizer_settings", seeds: tokenizers::settings_seeds, read: tokenizers::read_settings },
    Target { name: "bert_tokenizer", seeds: tokenizers::bert_seeds, read: tokenizers::read_bert },
    Target { name: "nifti", seeds: seeds::nifti, read: volumes::read_nifti },
    Target { name: "nifti_pair", seeds: volumes::pair_seeds, read: volumes::read_pair },
    Target { name: "nrrd", seeds: grids::nrrd_seeds, read: grids::read_nrrd },
    Target { name: "metaimage", seeds: grids::metaimage_seeds, read: grids::read_metaimage },
    Target { name: "npy", seeds: seeds::npy, read: volumes::read_npy },
    Target { name: "dicom", seeds: dicom::seeds, read: dicom::read },
    Target { name: "dicom_codecs", seeds: dicom::codec_seeds, read: read_dicom_file },
    Target { name: "dicomdir", seeds: archives::directory_seeds, read: archives::read_directory },
    Target { name: "zip", seeds: archives::zip_seeds, read: archives::read_zip },
    Target { name: "images", seeds: images::seeds, read: images::read },
    Target { name: "detect", seeds: volumes::detect_seeds, read: volumes::read_any },
    Target { name: "eval_data", seeds: eval::data_seeds, read: eval::read_data },
    Target { name: "eval_results", seeds: eval::results_seeds, read: eval::read_results },
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no fuzz target `{name}`"))
}

/// A committed input.
pub struct Kept {
    /// Where it is.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// Most bytes of a committed input.
pub const CORPUS_FILE_BYTES_MAX: u64 = 64 << 10;

/// The folder of committed inputs, with a folder for each target.
pub fn corpus_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The committed inputs of a target, in order of their names.
///
/// # Panics
/// If they cannot be read.
pub fn corpus(target: &Target) -> Vec<Kept> {
    let folder = corpus_folder().join(target.name);
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be listed").path()).collect();
    paths.sort();
    let kept = |path: PathBuf| Kept { bytes: std::fs::read(&path).expect("the file can be read"), path };
    paths.into_iter().map(kept).collect()
}

/// Puts the number of a file before its content: for targets whose input stands for one of several files.
fn numbered(file: usize, bytes: Vec<u8>) -> Seed {
    Seed::part(bytes, move |bytes| [vec![file as u8], bytes].concat())
}

/// Which of `files` an input stands for, and its content.
fn of_number<'a, T>(files: &[T], bytes: &'a [u8]) -> Option<(usize, &'a [u8])> {
    let (number, content) = bytes.split_first()?;
    Some((usize::from(*number) % files.len(), content))
}

/// A folder for one case, which disappears with it. In memory where there is such a place: on a disk, making and
/// removing it would take most of the time.
fn case_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

fn write(path: PathBuf, bytes: impl AsRef<[u8]>) {
    std::fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
