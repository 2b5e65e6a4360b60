//! Every scan of the shared folder: a valid one gets an answer and slice scores, any other file one sentence.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Outcome, fail, json, run, succeed, text, tiny_model};

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

/// Scans of real life, each made small: read, or refused where that is what its list wants.
#[test]
fn field_trials_are_read_or_refused() {
    let Some(folder) = shared("fieldtrials/scans") else { return };
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json")).unwrap()).unwrap();
    for case in index.as_array().unwrap() {
        let path = folder.join(case["path"].as_str().unwrap());
        let more = case["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let arguments: Vec<&str> = ["inspect", "--volume", text(&path)].into_iter().chain(more).collect();
        let Outcome { status, stderr, .. } = run(&arguments);
        let wanted: &[i32] = match case["want"].as_str().unwrap() {
            "volume" => &[0],
            "refuse" => &[3],
            _ => &[0, 3],
        };
        assert!(status.is_some_and(|status| wanted.contains(&status)), "{}: {status:?} {stderr}", case["case"]);
    }
}

/// An NRRD of two slices, 4 mm apart from 10 mm up.
fn nrrd(folder: &Path) -> PathBuf {
    let header = "NRRD0004\ntype: uint8\ndimension: 3\nspace: LPS\nsizes: 4 3 2\n\
        space directions: (1,0,0) (0,1,0) (0,0,4)\nspace origin: (-7,-8,10)\nencoding: raw\n\n";
    let path = folder.join("scan.nrrd");
    std::fs::write(&path, [header.as_bytes(), &(0..24).collect::<Vec<u8>>()].concat()).unwrap();
    path
}

#[test]
fn an_answer_says_where_its_slices_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = nrrd(folder.path());
    let start =
        ["generate", "--model", tiny_model(), "--prompt", "Why?", "--max-new-tokens", "1", "--json", "--volume"];
    let answer = json(&[&start[..], &[text(&path)]].concat());
    let slices = answer["volume"]["slices"].as_array().unwrap();
    assert_eq!(slices.len(), 32);
    let first = serde_json::json!([{ "slice": 0, "sop_instance_uid": null, "frame": null, "instance_number": null,
        "position_mm": [-7.0, -8.0, 14.0] }]);
    assert_eq!(slices[0]["sources"], first);
    assert_eq!(slices[16]["sources"].as_array().unwrap().len(), 2, "between both");
    assert_eq!(slices[31]["sources"][0]["slice"], 1);
    assert_eq!(answer["volume"]["study_uid"], Value::Null);

    let Some(zip) = shared("fieldtrials/scans/dicom-zip/scan") else { return };
    let zip = zip.join("scan.zip");
    let plain = succeed(&[&start[..], &[text(&zip)]].concat());
    let hashed = succeed(&[&start[..], &[text(&zip), "--hash-uids"]].concat());
    assert!(plain.contains("\"series_uid\":") && plain.contains("1.2.826.0.1.3680043"), "{plain}");
    assert!(hashed.contains("\"series_uid\":") && !hashed.contains("1.2.826.0.1.3680043"), "{hashed}");
    let inspected = json(&["inspect", "--json", "--volume", text(&zip)]);
    let uids = inspected["info"]["slices"].as_array().unwrap().iter().map(|slice| &slice["sop_instance_uid"]);
    assert!(uids.clone().all(Value::is_string) && uids.count() == 8, "{inspected}");
}

#[test]
fn a_series_is_chosen_in_words_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = nrrd(folder.path());
    assert!(fail(&["inspect", "--volume", text(&path), "--series", "3"], 3).contains("no series"));
    let Some(study) = shared("fieldtrials/scans/dicom-zip/scan") else { return };
    let zip = study.join("scan.zip");
    succeed(&["inspect", "--volume", text(&zip), "--series", "2"]);
    let refused = fail(&["inspect", "--volume", text(&zip), "--series", "3"], 3);
    assert!(refused.contains("holds no series \"3\"; it holds 2 ("), "{refused}");
}
