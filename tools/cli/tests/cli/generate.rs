//! Answers: on stdout alone, or as JSON with the fields that others rely on.

use serde_json::Value;

use crate::{Inputs, inputs, json, run, succeed, text, tiny_model};

const SLICES: usize = 32;
/// 256 pooled 3D tokens and 256 aggregated 2D tokens.
const IMAGE_ROWS: usize = 512;

/// `generate` on the tiny model and the small volume.
fn ask<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let Inputs { model, volume } = inputs();
    [&["generate", "--model", model, "--volume", volume, "--prompt", "What is it?"], more].concat()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn json_has_every_field_of_the_contract() {
    let answer = json(&ask(&["--json", "--logprobs", "3", "--max-new-tokens", "5"]));
    let fields: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = vec![
        "text",
        "token_ids",
        "finish_reason",
        "slice_scores",
        "top_slices",
        "volume",
        "usage",
        "prompt_ids",
        "logprobs",
        "end_logprob",
        "top_logprobs",
        "timings_ms",
        "device",
        "warnings",
    ];
    wanted.sort_unstable();
    assert_eq!(fields, wanted);

    let scores = floats(&answer["slice_scores"]);
    assert_eq!(scores.len(), SLICES);
    assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-5);
    let top = answer["top_slices"].as_array().unwrap();
    let first = top[0]["slice"].as_u64().unwrap() as usize;
    assert_eq!(scores[first], scores.iter().copied().fold(0.0, f64::max));
    assert!(top.windows(2).all(|pair| pair[0]["score"].as_f64() >= pair[1]["score"].as_f64()));
    for slice in top {
        let source = floats(&slice["source_slices"]);
        assert!(source.len() == 2 && source[0] <= source[1] && source[1] < 8.0, "{source:?}");
    }

    let prompt_ids = answer["prompt_ids"].as_array().unwrap();
    assert_eq!(prompt_ids.iter().filter(|id| **id == -201).count(), 1);
    assert_eq!(answer["usage"]["prompt_tokens"], prompt_ids.len() - 1 + IMAGE_ROWS);
    let tokens = answer["token_ids"].as_array().unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], tokens.len());
    let reason = if tokens.len() == 5 { "length" } else { "stop" };
    assert_eq!(answer["finish_reason"], reason);
    let top = answer["top_logprobs"].as_array().unwrap();
    let logprobs = answer["logprobs"].as_array().unwrap();
    assert_eq!([top.len(), logprobs.len()], [tokens.len(); 2]);
    for ((step, token), logprob) in top.iter().zip(tokens).zip(logprobs) {
        let step = step.as_array().unwrap();
        assert_eq!((step.len(), &step[0][0], &step[0][1]), (3, token, logprob), "greedy takes the most likely");
        assert!(step.iter().all(|candidate| candidate[1].as_f64().unwrap() < 0.0));
    }
    assert_eq!(answer["end_logprob"].is_number(), reason == "stop");

    let timings = answer["timings_ms"].as_object().unwrap();
    let mut stages = vec!["load", "preprocess", "encode", "tgis", "prefill", "decode", "first_token", "total"];
    stages.sort_unstable();
    assert_eq!(timings.keys().map(String::as_str).collect::<Vec<_>>(), stages);
    assert!(timings.values().all(|time| time.as_f64().unwrap() >= 0.0));
    assert!(answer["device"].as_str().unwrap().starts_with("cpu"));
}

#[test]
fn stdout_carries_the_answer_alone() {
    let streamed = run(&ask(&["--max-new-tokens", "6"]));
    let reported = json(&ask(&["--max-new-tokens", "6", "--json"]));
    assert_eq!(streamed.stdout, format!("{}\n", reported["text"].as_str().unwrap()));
    assert_eq!((streamed.status, streamed.stderr.as_str()), (Some(0), ""));
    for field in ["logprobs", "end_logprob", "top_logprobs"] {
        assert!(reported.get(field).is_none(), "{field} only with --logprobs");
    }
}

#[test]
fn the_same_request_gives_the_same_answer() {
    let tokens = |more: &[&str]| {
        let more: Vec<&str> = more.iter().copied().chain(["--json", "--max-new-tokens", "12"]).collect();
        json(&ask(&more))["token_ids"].clone()
    };
    let greedy = tokens(&[]);
    assert_eq!(greedy, tokens(&["--threads", "1"]), "whatever the number of threads");
    let sampled = |seed: &str| tokens(&["--temperature", "1.5", "--top-p", "0.9", "--top-k", "50", "--seed", seed]);
    let first = sampled("1");
    assert_eq!(first, sampled("1"));
    assert_ne!(first, sampled("2"), "twelve tokens of another seed");
}

#[test]
fn slices_are_weighted_as_asked() {
    let answer = |more: &[&str]| {
        let more: Vec<&str> = more.iter().copied().chain(["--json", "--max-new-tokens", "1"]).collect();
        json(&ask(&more))
    };
    assert!(floats(&answer(&["--tgis", "uniform"])["slice_scores"]).iter().all(|score| *score == 1.0 / 32.0));
    let max = answer(&["--tgis", "max"]);
    assert!(max["slice_scores"].is_null() && max["top_slices"].as_array().unwrap().is_empty());
    let random = |seed: &str| answer(&["--tgis", seed])["slice_scores"].clone();
    assert!(random("random:1") == random("random:1") && random("random:1") != random("random:2"));
    let trained = answer(&[])["slice_scores"].clone();
    let other = answer(&["--tgis-text-mlp", "random:1"])["slice_scores"].clone();
    assert_ne!(trained, other);
    let guided = answer(&["--question", "Is there a nodule in the left lung?"]);
    assert_ne!(guided["slice_scores"], trained, "the question guides the slices");
    assert_eq!(guided["prompt_ids"], answer(&[])["prompt_ids"], "and nothing else");
}

#[test]
fn pictures_and_stages_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let [scores, montage, trace] = ["s.png", "m.png", "t.safetensors"].map(|name| folder.path().join(name));
    let files = ["--scores", text(&scores), "--montage", text(&montage), "--trace", text(&trace)];
    let more: Vec<&str> = files.into_iter().chain(["--max-new-tokens", "1"]).collect();
    let first = run(&ask(&more));
    assert_eq!(first.status, Some(0), "{}", first.stderr);
    for picture in [&scores, &montage] {
        assert!(image::open(picture).unwrap().width() >= 1000);
    }
    let bytes = std::fs::read(&trace).unwrap();
    let entries = med2e3_loaders::safetensors::read_header(&trace, &bytes).unwrap();
    let shape = |name: &str| &entries.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name}")).shape;
    assert_eq!(shape("volume"), &[SLICES, 256, 256]);
    assert_eq!(shape("z_3d"), &[256, 192]);
    assert_eq!(shape("z_2d_slices"), &[SLICES, 256, 192]);
    for name in ["z_t", "tgis_scores", "z_2d", "z_i", "prompt_logits"] {
        assert!(!shape(name).is_empty(), "{name}");
    }
    let again = run(&ask(&more));
    assert!(again.status == Some(2) && again.stderr.contains("--force"), "{}", again.stderr);
}

/// A question of three tokens about the small volume, on a device.
fn on_device(model: &str, device: &[&str]) -> Value {
    let asked = ["generate", "--model", model, "--volume", &inputs().volume, "--prompt", "Is there a lesion?"];
    json(&asked.iter().chain(&["--max-new-tokens", "3", "--json"]).chain(device).copied().collect::<Vec<&str>>())
}

fn slice_scores(answer: &Value) -> Vec<f64> {
    let scores = answer["slice_scores"].as_array().expect("scores");
    scores.iter().map(|score| score.as_f64().expect("a number")).collect()
}

/// Fails unless every score is within 2 % of itself; gives the largest difference.
fn assert_near(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!((got.len(), want.len()), (SLICES, SLICES), "{what}");
    let most = got.iter().zip(want).map(|(got, want)| (got - want).abs() / want).fold(0.0, f64::max);
    let [least, largest] = want.iter().fold([f64::MAX, 0.0], |[low, high], &v| [low.min(v), v.max(high)]);
    println!("{what}: within {most:.2e} of themselves, scores from {least:.4} to {largest:.4}");
    assert!(most <= 0.02, "{what}: a slice's score differs by {most:.2e} of itself");
}

/// The whole model through the GPU's kernels: slice scores within 2 % of the CPU's, the same under another order of
/// threads, with every op compared with the CPU's.
#[test]
fn the_emulated_gpu_scores_slices_as_the_cpu_does() {
    let want = on_device(tiny_model(), &["--device", "cpu"]);
    let got = on_device(tiny_model(), &["--device", "emulated:3", "--shadow"]);
    assert_near("released", &slice_scores(&got), &slice_scores(&want));
    assert_eq!(slice_scores(&on_device(tiny_model(), &["--device", "emulated"])), slice_scores(&got));
    assert!(got["device"].as_str().expect("text").contains("emulated"), "{}", got["device"]);
}

/// As above, in every other variant that scores slices.
#[test]
fn the_emulated_gpu_scores_slices_in_every_variant() {
    let folder = tempfile::tempdir().unwrap();
    let connectors: Vec<&str> = med2e3_loaders::config::scoring_connectors().skip(1).collect();
    assert_eq!(connectors.len(), 7);
    for connector in connectors {
        let model = folder.path().join(connector);
        let made = ["make-model", "--preset", "tiny", "--seed", "5", "--connector", connector, "--out", text(&model)];
        succeed(&made);
        let [got, want] = ["emulated:2", "cpu"].map(|device| on_device(text(&model), &["--device", device]));
        assert_near(connector, &slice_scores(&got), &slice_scores(&want));
    }
}
