//! What is fuzzed: for each reader of untrusted bytes, small valid inputs and a function that reads them.
//!
//! `tests/fuzz.rs` mutates the seeds on stable Rust and watches time and memory; the libFuzzer targets under
//! `tests/fuzz/` call the same functions.
mod dicom;
mod mutate;
mod seeds;

pub use mutate::mutate;

use loaders::config::ConfigFiles;
use loaders::volume::{VolumeOptions, parse_dicom_files, parse_nifti_bytes, parse_npy_bytes};
use loaders::{ModelConfig, safetensors, torch_zip};
use std::path::Path;

/// A valid input, and what to do to mutated bytes before they are read.
#[derive(Clone)]
pub struct Seed {
    /// The part that is mutated.
    pub bytes: Vec<u8>,
    /// Puts the part into its envelope: a length, a checksum or a compression that would otherwise refuse nearly every
    /// mutation before the reader sees it.
    pub wrap: fn(Vec<u8>) -> Vec<u8>,
}

/// A reader and what it accepts.
pub struct Target {
    /// Also the name of the libFuzzer target.
    pub name: &'static str,
    /// Inputs that must be accepted as they are.
    pub seeds: fn() -> Vec<Seed>,
    /// Reads bytes as if a user had given them. The error is what the user would see.
    pub read: fn(&[u8]) -> Result<(), String>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", seeds: seeds::safetensors, read: read_safetensors },
    Target { name: "torch_zip", seeds: seeds::torch_zip, read: read_torch_zip },
    Target { name: "nifti", seeds: seeds::nifti, read: read_nifti },
    Target { name: "npy", seeds: seeds::npy, read: read_npy },
    Target { name: "dicom", seeds: dicom::seeds, read: read_dicom },
    Target { name: "config", seeds: seeds::config, read: read_config },
];

/// The target of this name.
///
/// # Panics
/// If there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("no fuzz target `{name}`"))
}

fn read_safetensors(bytes: &[u8]) -> Result<(), String> {
    safetensors::read_header(Path::new("model.safetensors"), bytes).map(drop).map_err(|error| error.to_string())
}

fn read_torch_zip(bytes: &[u8]) -> Result<(), String> {
    torch_zip::read_table(Path::new("pytorch_model.bin"), bytes).map(drop).map_err(|error| error.to_string())
}

fn read_nifti(bytes: &[u8]) -> Result<(), String> {
    let found = parse_nifti_bytes(bytes, &VolumeOptions::default());
    found.map(drop).map_err(|problem| problem.at(Path::new("scan.nii")).to_string())
}

fn read_npy(bytes: &[u8]) -> Result<(), String> {
    let found = parse_npy_bytes(bytes, &VolumeOptions::default());
    found.map(drop).map_err(|problem| problem.at(Path::new("scan.npy")).to_string())
}

/// The bytes are one of three slices; the others are sound, so that they are compared with it.
fn read_dicom(bytes: &[u8]) -> Result<(), String> {
    let files = [("1".into(), dicom::slice(1)), ("2".into(), bytes.to_vec()), ("3".into(), dicom::slice(3))];
    let found = parse_dicom_files(&files, &VolumeOptions::default());
    found.map(drop).map_err(|problem| problem.at(Path::new("series")).to_string())
}

/// Reads bytes as a file of its own, for seeds that are no slice of the built-in series.
pub fn read_dicom_file(bytes: &[u8]) -> Result<(), String> {
    let found = parse_dicom_files(&[("scan.dcm".into(), bytes.to_vec())], &VolumeOptions::default());
    found.map(drop).map_err(|problem| problem.at(Path::new("scan.dcm")).to_string())
}

/// The bytes stand in for each of a model's four files in turn; they are accepted where one of them can be so.
fn read_config(bytes: &[u8]) -> Result<(), String> {
    let sound = seeds::config_files();
    let mutants = [
        ConfigFiles { args: bytes.to_vec(), ..sound.clone() },
        ConfigFiles { llm: Some(bytes.to_vec()), ..sound.clone() },
        ConfigFiles { vision_2d: Some(bytes.to_vec()), ..sound.clone() },
        ConfigFiles { vision_3d: Some(bytes.to_vec()), ..sound },
    ];
    let outcomes = mutants.map(|files| ModelConfig::parse(&files).map(drop).map_err(|error| error.to_string()));
    outcomes.into_iter().reduce(Result::or).expect("there are four")
}
