//! `phantom`: what it writes, and what it refuses.

use std::path::Path;

use serde_json::Value;

use crate::{contents, fail, json, succeed, text};

fn read(path: &Path) -> Vec<Value> {
    let items: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    items.as_array().unwrap().clone()
}

#[test]
fn a_folder_holds_volumes_and_the_official_json() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str, threads: &str| {
        let out = folder.path().join(name);
        let arguments = ["phantom", "--seed", "7", "--count", "6", "--out", text(&out), "--threads", threads];
        assert_eq!(succeed(&arguments), "");
        assert!(fail(&arguments, 2).contains("not empty"), "nothing is replaced");
        contents(&out).into_iter().map(move |(path, bytes)| (path.strip_prefix(&out).unwrap().to_owned(), bytes))
    };
    let first: Vec<_> = make("a", "1").collect();
    assert!(first == make("b", "2").collect::<Vec<_>>(), "the seed decides every byte");
    let names: Vec<&str> = first.iter().map(|(path, _)| text(path)).collect();
    let volumes = ["10", "11", "12", "7", "8", "9"].map(|seed| format!("phantom_{seed}.npy"));
    assert_eq!(names[..6], volumes);
    assert_eq!(names[6..], ["truth.json"]);

    let items = read(&folder.path().join("a/truth.json"));
    assert!(items.len() > 6 * 6);
    for item in &items {
        let question = item["question"].as_str().unwrap();
        assert_eq!(item["conversations"].as_array().unwrap().len(), 1, "the answer is not in the prompt");
        assert_eq!(item["conversations"][0]["from"], "human");
        assert_eq!(item["conversations"][0]["value"], format!("<image3d>\n{question}"));
        assert!(names.contains(&item["vision3d"][0].as_str().unwrap()));
        assert!(item["question_type"].as_u64().unwrap() <= 5);
        let answer = item["answer"].as_str().unwrap();
        match item["answer_choice"].as_str() {
            Some(letter) => {
                assert!(question.contains(&format!(" {answer}")) && question.contains(" Choices: A. "), "{question}");
                assert!(answer.starts_with(&format!("{letter}. ")), "{answer}");
            }
            None => assert!(!question.contains("Choices:"), "{question}"),
        }
    }
    let again = json(&["inspect", "--volume", text(&folder.path().join("a/phantom_9.npy")), "--json"]);
    assert_eq!(again["dims"], serde_json::json!([32, 64, 64]));
}

#[test]
fn a_patient_depends_on_its_seed_alone() {
    let folder = tempfile::tempdir().unwrap();
    let many = folder.path().join("many");
    let one = folder.path().join("phantom_4.npy");
    let truth = folder.path().join("one.json");
    succeed(&["phantom", "--seed", "3", "--count", "2", "--out", text(&many)]);
    succeed(&["phantom", "--seed", "4", "--out", text(&one), "--truth", text(&truth)]);
    assert!(std::fs::read(&one).unwrap() == std::fs::read(many.join("phantom_4.npy")).unwrap());
    let of_four: Vec<Value> =
        read(&many.join("truth.json")).into_iter().filter(|item| item["truth"]["seed"] == 4).collect();
    assert_eq!(read(&truth), of_four);
}

/// The values of a .npy that this program wrote: f32 after the header, whose length stands in bytes 8 and 9.
fn voxels(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[header..].chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
}

#[test]
fn lesions_are_marked_in_the_slices_of_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("marked");
    succeed(&["phantom", "--seed", "20", "--count", "12", "--lesions", "--out", text(&out)]);
    let mut sick = 0;
    for item in read(&out.join("truth.json")).iter().filter(|item| item["question_type"] == 0) {
        let seed = item["truth"]["seed"].as_u64().unwrap();
        let marked = voxels(&out.join(format!("phantom_{seed}_lesion.npy")));
        assert_eq!(marked.len(), 32 * 64 * 64);
        assert!(marked.iter().all(|&value| value == 0.0 || value == 1.0), "seed {seed}");
        let touched: Vec<u64> =
            (0..32).filter(|&s| marked[s * 4096..][..4096].iter().sum::<f32>() >= 3.0).map(|s| s as u64).collect();
        match item["truth"]["slices"].as_array() {
            Some(slices) => {
                sick += 1;
                let [first, last] = [0, 1].map(|end| slices[end].as_u64().unwrap());
                assert_eq!(touched, (first..=last).collect::<Vec<_>>(), "seed {seed}");
            }
            None => assert!(marked.iter().all(|&value| value == 0.0), "seed {seed}"),
        }
    }
    assert!(sick > 4, "{sick} of 12 patients have a lesion");
    let one = folder.path().join("one.npy");
    assert!(fail(&["phantom", "--seed", "1", "--lesions", "--out", text(&one)], 2).contains("give a folder"));
    assert!(!one.exists());
}

#[test]
fn a_nifti_phantom_is_an_axial_scan() {
    let folder = tempfile::tempdir().unwrap();
    let scan = folder.path().join("a.nii.gz");
    let truth = folder.path().join("a.json");
    // Seed 0 is coronal as a .npy.
    let arguments = ["phantom", "--seed", "0", "--out", text(&scan), "--truth", text(&truth), "--size", "24,48,40"];
    succeed(&arguments);
    let report = json(&["inspect", "--volume", text(&scan), "--json"]);
    assert_eq!(report["dims"], serde_json::json!([24, 48, 40]));
    assert!(report["info"]["notes"].as_array().is_none_or(Vec::is_empty), "{report}");
    assert!(read(&truth).iter().all(|item| item["truth"]["plane"] == "Axial"));
    assert!(fail(&arguments, 2).contains("--force"));
    let before = contents(folder.path());
    succeed(&[arguments.as_slice(), &["--force"]].concat());
    assert!(contents(folder.path()) == before, "the same bytes, and no temporary file");
}

#[test]
fn what_cannot_be_written_is_refused_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("taken.npy"), b"x").unwrap();
    let phantom = |more: &[&str]| fail(&[["phantom", "--seed", "1"].as_slice(), more].concat(), 2);
    let cases = [
        (vec!["--out", "a.nii"], "a.nii"),
        (vec!["--out", "a.npy", "--size", "8,64,64"], "16, 32, 32"),
        (vec!["--out", "a.npy", "--size", "32,64"], "3 numbers"),
        (vec!["--out", "a.npy", "--size", "4096,4096,4096"], "voxels"),
        (vec!["--out", "a.npy", "--count", "0"], "0"),
        (vec!["--out", "a.npy", "--count", "2"], "give a folder"),
        (vec!["--out", "a.npy", "--truth", "a.npy"], "twice"),
        (vec!["--out", "a.npy", "--seed", "-1"], "-1"),
        (vec![], "--out"),
    ];
    for (more, wanted) in cases {
        let sentence = phantom(&more);
        assert!(sentence.contains(wanted), "{more:?}: {sentence}");
    }
    assert!(phantom(&["--out", &at("taken.npy")]).contains("--force"));
    assert!(phantom(&["--out", &at("b.npy"), "--truth", &at("taken.npy")]).contains("--force"));
    assert!(phantom(&["--out", &at("nowhere/b.npy")]).contains("no folder"));
    assert!(phantom(&["--out", &at("nowhere/b")]).contains("no folder"));
    assert!(phantom(&["--out", &at("")]).contains("not empty"));
    let last = u64::MAX.to_string();
    assert!(fail(&["phantom", "--seed", &last, "--count", "2", "--out", &at("c")], 2).contains(&last));
    assert_eq!(contents(folder.path()).len(), 1, "nothing was written");
}

/// A full device is a failure while running, not wrong usage.
#[cfg(target_os = "linux")]
#[test]
fn a_failed_write_is_status_1_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.npy");
    // 64 blocks of 512 bytes: the volume has 524 416 bytes. A shell sets the limit for the command alone.
    let binary = env!("CARGO_BIN_EXE_engine-cli");
    let line = format!("trap '' XFSZ; ulimit -f 64; exec '{binary}' phantom --seed 1 --out '{}'", out.display());
    let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.lines().count() == 1 && stderr.starts_with("error: "), "{stderr}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "{stderr}");
}
