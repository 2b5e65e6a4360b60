//! Weights that are not finite: no answer, status 1, and a scan that finds them, status 3.

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

fn ask<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let line = ["generate", "--model", text(model), "--volume", &inputs().volume, "--prompt", "What is it?"];
    [&line[..], &["--max-new-tokens", "4"], more].concat()
}

#[test]
fn an_answer_that_is_not_finite_is_an_error_of_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    plant(&model, "llm", "model.norm.weight", 0, NAN);
    for more in [&[][..], &["--json"], &["--json", "--logprobs", "3"], &["--temperature", "0.7"], &["--tgis", "max"]] {
        let sentence = fail(&ask(&model, more), 1);
        assert!(sentence.contains("(llm/), at token 1 of the answer, gives NaN or infinity"), "{more:?}: {sentence}");
        assert!(sentence.contains("inspect --model DIR --weights"), "{sentence}");
    }
    let another = tempfile::tempdir().unwrap();
    let model = self::model(another.path());
    plant(&model, "vision3d_connector", "text_mlp.weight", 5, INFINITY);
    let sentence = fail(&ask(&model, &["--json"]), 1);
    assert!(sentence.contains("text_mlp (vision3d_connector/) gives NaN or infinity"), "{sentence}");
    assert!(run_json(&ask(&model, &["--json", "--tgis", "uniform"]))["text"].is_string(), "nothing depends on it");
}

/// The run ends where the model fails, with the answers before in the journal, and not with a table of zeros.
#[test]
fn eval_ends_with_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let questions = ["Is there a nodule?", "Which organ is abnormal?"];
    let answer = |question: &str| {
        let prompt = format!("<image3d>\n{question}");
        let line = ["generate", "--model", text(&model), "--volume", &inputs().volume, "--prompt", &prompt];
        run_json(&[&line[..], &["--question", question, "--max-new-tokens", "3", "--json"]].concat())
    };
    let [first, second] = questions.map(answer);
    let ids = |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect::<Vec<i64>>();
    let known = [ids(&first["prompt_ids"]), ids(&first["token_ids"])].concat();
    let only_second = ids(&second["prompt_ids"]).into_iter().find(|id| !known.contains(id)).unwrap();
    plant(&model, "llm", "model.embed_tokens.weight", only_second as usize * 192, NAN);

    let volume = Path::new(&inputs().volume);
    let item = |(id, question): (usize, &str)| {
        let asked = format!("<image3d>\n{question}");
        json!({
            "question": question, "vision3d": [volume.file_name().unwrap().to_str()], "id": id.to_string(),
            "question_type": 4, "answer": "No", "conversations": [{"value": asked, "from": "human"}],
        })
    };
    let data = folder.path().join("data.json");
    let items: Vec<Value> = questions.into_iter().enumerate().map(item).collect();
    std::fs::write(&data, json!(items).to_string()).unwrap();
    let out = folder.path().join("out.json");
    let volumes = volume.parent().unwrap();
    let line =
        ["eval", "--model", text(&model), "--data", text(&data), "--volumes", text(volumes), "--out", text(&out)];
    let sentence = fail(&[&line[..], &["--max-new-tokens", "3", "--batch", "1"]].concat(), 1);
    assert!(sentence.contains("at token 1 of the answer, gives NaN or infinity"), "{sentence}");
    assert!(!out.exists(), "no table");
    let journal = std::fs::read_to_string(folder.path().join("out.json.partial")).unwrap();
    assert!(journal.contains(questions[0]) && !journal.contains(questions[1]), "{journal}");
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
