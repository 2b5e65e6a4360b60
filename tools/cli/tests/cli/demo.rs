//! `generate --demo`: the answer alone on stdout; on stderr the truth, and the lesion marked under the slices' scores.

use serde_json::{Value, json};

use crate::{fail, json as run_json, run, succeed, text};

/// The demo with more arguments.
fn demo<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["generate", "--demo"], more].concat()
}

/// The only line with this label, without it.
fn line<'a>(stderr: &'a str, label: &str) -> &'a str {
    let mut found = stderr.lines().filter_map(|line| line.strip_prefix(label));
    match (found.next(), found.next()) {
        (Some(line), None) => line,
        _ => panic!("`{label}` once in\n{stderr}"),
    }
}

#[test]
fn the_answer_stands_alone_and_the_lesion_is_marked() {
    let outcome = run(&demo(&[]));
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    let report = run_json(&demo(&["--json"]));
    assert_eq!(outcome.stdout, format!("{}\n", report["text"].as_str().unwrap()));
    let [first, last]: [usize; 2] = serde_json::from_value(report["truth"]["slices"].clone()).expect("it has a lesion");
    let slices: Vec<char> = line(&outcome.stderr, "slices:   ").chars().collect();
    assert_eq!(slices.len(), 32);
    assert_eq!(slices[report["top_slices"][0]["slice"].as_u64().unwrap() as usize], '█');
    let marks = format!("{}{}", " ".repeat(first), "^".repeat(last + 1 - first));
    assert_eq!(line(&outcome.stderr, "lesion:   "), marks);
    let truth = line(&outcome.stderr, "truth:    ");
    let right = report["truth"]["answer"].as_str().unwrap();
    assert!(truth.starts_with(right), "{truth}");
    assert_eq!(outcome.stdout.trim(), right, "the first thing that a newcomer sees is a right answer");
    assert!(!outcome.stderr.contains("warning"), "{}", outcome.stderr);
    assert!(line(&outcome.stderr, "question: ").contains(" Choices: A. "));
    assert!(outcome.stderr.contains("ms: load "), "{}", outcome.stderr);
}

#[test]
fn a_seed_is_a_patient_of_phantom() {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("3000002.npy");
    let truth = folder.path().join("truth.json");
    succeed(&["phantom", "--seed", "3000002", "--out", text(&volume), "--truth", text(&truth)]);
    let items: Value = serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap();
    let item = items.as_array().unwrap().iter().find(|item| item["id"] == "3000002-abnormality-closed").unwrap();
    let report = run_json(&demo(&["--seed", "3000002", "--json"]));
    let mut wanted = item["truth"].clone();
    wanted["answer"] = item["answer"].clone();
    assert_eq!(report["truth"], wanted);
    assert_eq!(wanted["lesion"], Value::Null, "this one is healthy");

    // The same scan from its file and the model from its folder, asked the same, say the same; the truth is not known.
    let question = item["question"].as_str().unwrap();
    let asked = ["--volume", text(&volume), "--prompt", question, "--json"];
    let carried = run_json(&demo(&asked));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../research/demo/model");
    let given = run_json(&[&["generate", "--model", folder], &asked[..]].concat());
    for same in [&carried, &given] {
        assert_eq!((&same["text"], &same["slice_scores"]), (&report["text"], &report["slice_scores"]));
        assert!(same.get("truth").is_none());
    }
    assert!(carried["warnings"].to_string().contains("made-up patients alone"), "{}", carried["warnings"]);
    assert!(fail(&demo(&["--seed", "1", "--volume", text(&volume)]), 2).contains("--seed chooses"));

    let outcome = run(&demo(&["--seed", "3000002", "--prompt", "Where is it?"]));
    assert_eq!(line(&outcome.stderr, "question: "), "Where is it?");
    assert!(line(&outcome.stderr, "truth:    ").ends_with(" No lesion.") && !outcome.stderr.contains("lesion:"));
    let asked = run_json(&demo(&["--seed", "3000002", "--prompt", "Where is it?", "--json"]));
    assert_eq!((&asked["truth"]["answer"], &asked["truth"]["seed"]), (&Value::Null, &json!(3_000_002)));
}

/// The most likely option is the answer, each has its log-probability, and what the model writes is what it finds
/// likely.
#[test]
fn options_are_scored() {
    let options = ["--option", "A. Lung", "--option", "Kidney", "--option", "A. Lung"];
    let report = run_json(&demo(&[&options[..], &["--json"]].concat()));
    let scored = report["options"].as_array().unwrap();
    assert_eq!(
        (scored.len(), &scored[0], report["text"] == scored[report["best_option"].as_u64().unwrap() as usize]["text"]),
        (3, &scored[2], true)
    );
    for option in scored {
        let logprobs: Vec<f64> = serde_json::from_value(option["logprobs"].clone()).unwrap();
        assert!(logprobs.len() > 1 && logprobs.iter().all(|logprob| *logprob <= 0.0), "{option}");
        // Printed with as many digits as tell f32 apart: each is off by at most 2^-24 of itself.
        let sum: f64 = logprobs.iter().sum();
        let near = |a: f64, b: f64| (a - b).abs() <= 2f64.powi(-23) * b.abs();
        assert!(near(option["logprob"].as_f64().unwrap(), sum), "{option}");
        assert!(near(option["mean_logprob"].as_f64().unwrap(), sum / logprobs.len() as f64), "{option}");
    }
    let written = run_json(&demo(&["--json"]))["text"].as_str().unwrap().to_owned();
    let chosen = run_json(&demo(&["--option", "Z. Nothing at all", "--option", &written, "--json"]));
    assert_eq!((chosen["best_option"].as_u64(), chosen["text"].as_str()), (Some(1), Some(written.as_str())));
    let shown = succeed(&demo(&options));
    assert_eq!(shown.lines().filter(|line| line.starts_with(" *")).count(), 1, "{shown}");
    assert!(shown.lines().count() == 4 && shown.ends_with("  A. Lung\n"), "{shown}");
    let refused = run(&demo(&["--option", " ", "--json"]));
    assert_eq!((refused.status, refused.stderr.as_str()), (Some(3), "error: an option is empty; give each a text\n"));
    assert!(fail(&demo(&["--option", "a", "--logprobs", "2", "--json"]), 2).contains("--logprobs"));
}
