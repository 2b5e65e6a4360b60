//! `--window` and `preprocess.json`: which window is used, where it stands, and what is refused.

use std::path::Path;

use serde_json::{Value, json};

use crate::{contents, fail, json as run_json, run, small_volume, succeed, text, tiny_model};

/// An axial scan in Hounsfield units.
fn scan(folder: &Path) -> String {
    let path = folder.join("scan.nii.gz");
    succeed(&["phantom", "--seed", "1", "--out", text(&path)]);
    text(&path).to_owned()
}

/// A tiny model with a window.
fn windowed_model(folder: &Path) -> String {
    let path = folder.join("windowed");
    succeed(&["make-model", "--preset", "tiny", "--seed", "5", "--window", "-200,300", "--out", text(&path)]);
    text(&path).to_owned()
}

#[test]
fn the_window_that_was_used_stands_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let scan = scan(folder.path());
    let model = windowed_model(folder.path());
    let range = run_json(&["inspect", "--volume", &scan, "--json"])["info"]["range"].clone();
    let generate = |model: &str, more: &[&str]| {
        let line =
            ["generate", "--model", model, "--volume", &scan, "--prompt", "p", "--max-new-tokens", "1", "--json"];
        run_json(&[&line[..], more].concat())
    };
    let floor = json!({"from": "none", "lo": -1024.0, "hi": range[1]});
    let soft = json!({"from": "preset", "lo": -160.0, "hi": 240.0});
    let given = json!({"from": "user", "lo": -50.0, "hi": 60.5});
    let models = json!({"from": "model", "lo": -200.0, "hi": 300.0});
    let full = json!({"from": "none", "lo": range[0], "hi": range[1]});
    for (model, arguments, wanted, said) in [
        (model.as_str(), &[][..], &models, "-200 to 300 was applied: it stands in the model's preprocess.json"),
        (tiny_model(), &[], &floor, "no window was applied: the full range"),
        (&model, &["--window", "full"], &full, "as --window full asks"),
        (&model, &["--window", "soft"], &soft, "-160 to 240 was applied: --window names it"),
        (&model, &["--window", "-50,60.5"], &given, "-50 to 60.5 was applied: --window gives it"),
    ] {
        let report = generate(model, arguments);
        assert_eq!(&report["volume"]["window"], wanted, "{arguments:?}");
        let said = |warning: &Value| warning.as_str().unwrap().contains(said);
        assert!(report["warnings"].as_array().unwrap().iter().any(said), "{arguments:?}: {}", report["warnings"]);
    }
    for (choice, wanted) in [("auto", &floor), ("full", &full), ("soft", &soft)] {
        let report = run_json(&["inspect", "--volume", &scan, "--json", "--window", choice]);
        assert_eq!(&report["volume"]["window"], wanted, "{choice}");
    }
    let shown = succeed(&["inspect", "--volume", &scan, "--window", "soft"]);
    assert!(shown.contains("window       -160 to 240 (from: preset)"), "{shown}");
    assert!(fail(&["inspect", "--volume", &scan, "--window", "file"], 3).contains("holds no window"));
}

#[test]
fn preprocess_takes_a_models_size_and_window() {
    let folder = tempfile::tempdir().unwrap();
    let scan = scan(folder.path());
    let model = windowed_model(folder.path());
    let out = folder.path().join("a.npy");
    let written = |more: &[&str]| {
        let line = ["preprocess", "--volume", &scan, "--out", text(&out), "--force"];
        let outcome = run(&[&line[..], more].concat());
        assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
        (std::fs::read(&out).unwrap(), outcome.stderr)
    };
    let (by_model, said) = written(&["--model", &model, "--size", "16,32,32"]);
    assert!(said.contains("the window -200 to 300 was applied"), "{said}");
    assert_eq!(by_model, written(&["--window", "-200,300", "--size", "16,32,32"]).0);
    assert_ne!(by_model, written(&["--size", "16,32,32"]).0);
    assert_eq!(written(&["--model", &model, "--window", "soft"]).0, written(&["--window", "soft"]).0);
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../research/demo/model");
    let sized = written(&["--model", demo]).0;
    assert!(String::from_utf8_lossy(&sized[..128]).contains("'shape': (1, 32, 64, 64)"), "the demo's own size");
    assert!(
        fail(&["preprocess", "--volume", &scan, "--out", text(&out), "--force", "--model", "nowhere"], 3)
            .contains("nowhere")
    );
}

#[test]
fn a_models_window_is_carried_along() {
    let folder = tempfile::tempdir().unwrap();
    let model = windowed_model(folder.path());
    let converted = folder.path().join("converted");
    succeed(&["convert", "--model", &model, "--out", text(&converted)]);
    for model in [&model, text(&converted)] {
        let report = run_json(&["inspect", "--model", model, "--json"]);
        assert_eq!(report["window"], json!({"lo": -200.0, "hi": 300.0}));
        assert!(succeed(&["inspect", "--model", model]).contains("window      -200 to 300"));
    }
    assert_eq!(run_json(&["inspect", "--model", tiny_model(), "--json"])["window"], Value::Null);

    let file = converted.join("preprocess.json");
    let volume = small_volume(folder.path());
    for broken in ["{}", "{\"window\": [3, 1]}", "{\"window\": [1, 2], \"more\": 0}", "[", &" ".repeat(5000)] {
        std::fs::write(&file, broken).unwrap();
        let before = contents(&converted);
        let sentence = fail(&["inspect", "--model", text(&converted)], 3);
        assert!(sentence.contains("preprocess.json: "), "{sentence}");
        let asked = ["generate", "--model", text(&converted), "--volume", text(&volume), "--prompt", "p"];
        assert_eq!(fail(&asked, 3), sentence);
        assert!(contents(&converted) == before);
    }
}

/// A prepared volume has gone through a window already: no other is applied, and a warning says so where one is named.
#[test]
fn a_prepared_volume_is_taken_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let volume = small_volume(folder.path());
    let model = windowed_model(folder.path());
    let none = json!({"from": "none", "lo": 0.0, "hi": 1.0});
    for (choice, warned) in [("auto", false), ("full", false), ("soft", true), ("-1,0.5", true)] {
        let line = ["generate", "--model", &model, "--volume", text(&volume), "--prompt", "p", "--max-new-tokens", "1"];
        let report = run_json(&[&line[..], &["--json", "--window", choice]].concat());
        assert_eq!(report["volume"]["window"], none, "{choice}");
        let warnings = report["warnings"].to_string();
        assert_eq!(warnings.contains("the window was not applied"), warned, "{choice}: {warnings}");
    }
    assert!(fail(&["inspect", "--volume", text(&volume), "--window", "file"], 3).contains("holds no window"));
}
