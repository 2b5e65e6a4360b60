//! Weights that are not finite: a scan that finds them, status 3.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::{fail, inputs, json as run_json, run, succeed, text, tiny_model};

/// bf16's quiet NaN and its infinity.
const NAN: [u8; 2] = [0xc0, 0x7f];
const INFINITY: [u8; 2] = [0x80, 0x7f];

/// A tiny model of one's own.
fn model(folder: &Path) -> PathBuf {
    let model = folder.join("model");
    succeed(&["make-model", "--preset", "tiny", "--seed", "5", "--out", text(&model)]);
    model
}

/// Replaces element `at` of a bf16 tensor of `model`.
fn plant(model: &Path, part: &str, tensor: &str, at: usize, value: [u8; 2]) {
    let path = model.join(part).join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let data = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..data]).unwrap();
    let first = data + header[tensor]["data_offsets"][0].as_u64().unwrap() as usize + 2 * at;
    bytes[first..first + 2].copy_from_slice(&value);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn inspect_counts_weights_that_are_not_finite() {
    let sound = succeed(&["inspect", "--model", tiny_model(), "--weights"]);
    assert!(sound.contains(" values scanned: all finite\n"), "{sound}");
    let report = run_json(&["inspect", "--model", tiny_model(), "--weights", "--json"]);
    let tensors: u64 = report["parts"].as_array().unwrap().iter().map(|part| part["tensors"].as_u64().unwrap()).sum();
    assert_eq!(
        report["weights"],
        json!({"tensors": tensors, "values": report["parameters"], "non_finite": []}),
        "every tensor of every part"
    );
    assert!(run_json(&["inspect", "--model", tiny_model(), "--json"]).get("weights").is_none(), "only where asked for");

    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    plant(&model, "vision3d_model", "vision_encoder.norm.weight", 3, NAN);
    plant(&model, "vision3d_model", "vision_encoder.norm.weight", 4, INFINITY);
    plant(&model, "llm", "lm_head.weight", 0, INFINITY);
    let outcome = run(&["inspect", "--model", text(&model), "--weights"]);
    assert_eq!(outcome.status, Some(3), "{}", outcome.stderr);
    for line in
        ["llm/lm_head.weight: 0 NaN, 1 infinite", "vision3d_model/vision_encoder.norm.weight: 1 NaN, 1 infinite"]
    {
        assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    }
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&format!("2 of {tensors} tensors hold values that are not finite")));
    let outcome = run(&["inspect", "--model", text(&model), "--weights", "--json"]);
    assert_eq!(outcome.status, Some(3));
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let damaged = json!([
        {"part": "llm", "tensor": "lm_head.weight", "nan": 0, "infinite": 1},
        {"part": "vision3d_model", "tensor": "vision_encoder.norm.weight", "nan": 1, "infinite": 1},
    ]);
    assert_eq!(report["weights"]["non_finite"], damaged);
    assert_eq!(run(&["inspect", "--model", text(&model)]).status, Some(0), "weights are read only where asked for");
    fail(&["inspect", "--volume", &inputs().volume, "--weights"], 2);
}
