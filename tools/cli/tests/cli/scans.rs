//! Every scan of the shared folder: a valid one gets an answer and slice scores, any other file one sentence.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Outcome, run, text, tiny_model};

/// The shared folder, where there is one.
fn shared(part: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("MED2E3_SHARED_DATA").map_or(default, PathBuf::from).join(part);
    if !folder.is_dir() {
        eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
        return None;
    }
    Some(folder)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn ask(volume: &Path, more: &[&str]) -> Outcome {
    let start = ["generate", "--model", tiny_model(), "--volume", text(volume), "--prompt", "What is it?", "--json"];
    let arguments: Vec<&str> = start.iter().chain(more).copied().chain(["--max-new-tokens", "1"]).collect();
    run(&arguments)
}

fn expect_answer(volume: &Path, more: &[&str]) {
    let Outcome { status, stdout, stderr } = ask(volume, more);
    assert_eq!(status, Some(0), "{}: {stderr}", volume.display());
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    let scores: Vec<f64> = answer["slice_scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert_eq!(scores.len(), 32, "{}", volume.display());
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{}", volume.display());
}

#[test]
fn valid_scans_get_an_answer() {
    let Some(shared) = shared("") else { return };
    let mut volumes = entries(&shared.join("nifti/real"));
    volumes.extend(entries(&shared.join("nifti/derived")));
    let folders = entries(&shared.join("dicom")).into_iter().filter(|path| path.is_dir());
    volumes.extend(folders.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("mr_") || name.starts_with("ct_d2n") || name.starts_with("ct_lidc")
    }));
    volumes.push(shared.join("m3d/ct_case/000001/Axial_lung_window"));
    volumes.push(shared.join("m3d/npys_256/ct_case/000001/Axial_lung_window.npy"));
    volumes.push(shared.join("m3d/npys_256/ct_rate_style/ts_example_ct_f16.npy"));
    for volume in volumes {
        match volume.file_name().unwrap().to_str().unwrap() {
            "constant_air.nii.gz" => assert_eq!(ask(&volume, &[]).status, Some(3), "there is nothing to see"),
            "ctsm_4d_2vol.nii.gz" => {
                assert!(ask(&volume, &[]).stderr.contains("--index"), "one of two must be chosen");
                expect_answer(&volume, &["--index", "1"]);
            }
            _ => expect_answer(&volume, &[]),
        }
    }
}

#[test]
fn broken_scans_get_one_sentence() {
    let Some(shared) = shared("") else { return };
    let broken = ["nifti/broken", "dicom/broken", "dicom/ct_series_bad"].map(|folder| entries(&shared.join(folder)));
    for path in broken.concat() {
        let Outcome { status, stdout, stderr } = run(&["inspect", "--volume", text(&path)]);
        match status {
            // A few are odd but sound, and read with a note.
            Some(0) => assert!(!stdout.is_empty() && stderr.is_empty(), "{}: {stderr}", path.display()),
            Some(3) => assert!(stderr.lines().count() == 1 && stdout.is_empty(), "{}: {stderr}", path.display()),
            _ => panic!("{}: {status:?} {stderr}", path.display()),
        }
    }
}
