//! `eval --closed scored`.

use serde_json::{Value, json};

use super::{Data, item};
use crate::{fail, json as run_json, succeed, text};

/// Beside the official rule: which of the listed choices is the most likely, and how often that is what was written.
#[test]
fn choices_are_scored_where_asked() {
    let data = Data::new();
    let out = data.path("out.json");
    let plain: Value = run_json(&data.eval("official.json", &["--json"]));
    let scored = data.eval("official.json", &["--out", text(&out), "--closed", "scored", "--json"]);
    let report = run_json(&scored);
    assert_eq!(report["closed"]["micro"]["accuracy"], plain["closed"]["micro"]["accuracy"], "the official rule stays");
    let results = data.results("out.json");
    let samples = results["samples"].as_array().unwrap();
    let share =
        |key: &str| samples[..2].iter().filter(|sample| sample["scored"][key] == json!(true)).count() as f64 / 2.0;
    assert_eq!(report["closed"]["micro"]["scored"], json!(share("correct")));
    assert_eq!(report["closed"]["micro"]["agreement"], json!(share("agrees")));
    let listed = ["A. Axial", "B. Coronal", "C. Sagittal", "D. Oblique"];
    assert!(samples[..2].iter().all(|sample| listed.contains(&sample["scored"]["choice"].as_str().unwrap())));
    assert!(samples[2..].iter().all(|sample| sample["scored"].is_null()));
    assert_eq!(results["options"]["closed"], json!("scored"));
    assert!(plain["options"]["closed"].is_null());
    let printed = succeed(&data.eval("official.json", &["--closed", "scored"]));
    assert!(printed.contains("accuracy  scored  agreement"), "{printed}");
    data.write(
        "bare.json",
        &json!([item("7", "a.npy", "Which?", json!({"question_type": 1, "answer": "A. Axial", "answer_choice": "A"}))])
            .to_string(),
    );
    let refused = fail(&data.eval("bare.json", &["--closed", "scored"]), 3);
    assert!(refused.contains("item `7`: its question lists no choices to score"), "{refused}");
}
