//! The demo's model answers as it did when its answers were written down, about patients that it was not trained on.
//!
//! After the model has changed, `MED2E3_FREEZE=1 cargo test -p med2e3-cli --test cli frozen` writes them down again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{succeed, text};

/// Patients with a lesion: every kind, organ, side, plane and phase is among them.
const SEEDS: [u64; 12] = [
    3_000_000, 3_000_001, 3_000_005, 3_000_006, 3_000_007, 3_000_008, 3_000_009, 3_000_010, 3_000_023, 3_000_026,
    3_000_033, 3_000_036,
];
/// Questions about each: one of each topic.
const TOPICS: usize = 5;

/// What is written down.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Frozen {
    /// On the CPU, by the question's id.
    cpu: BTreeMap<String, Answer>,
    /// On the emulated GPU, which rounds to bf16, where it says something else.
    emulated: BTreeMap<String, Answer>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    answer: String,
    /// Of questions about the lesion: whether the slice that counts most shows it. Which of its slices that is, and
    /// what counts most for plane and phase, where all slices count alike, can hang on a rounding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_slice_on_lesion: Option<bool>,
}

fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../research/demo").join(name)
}

/// What the model answers to all closed-ended questions about the patients.
fn answers(seeds: &[u64], device: &[&str]) -> BTreeMap<String, Answer> {
    let folder = tempfile::tempdir().unwrap();
    let [data, out] = ["data.json", "out.json"].map(|name| folder.path().join(name));
    let read = |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let mut items = Vec::new();
    let mut slices = BTreeMap::new();
    for seed in seeds {
        let [volume, truth] = ["npy", "json"].map(|ending| folder.path().join(format!("{seed}.{ending}")));
        succeed(&["phantom", "--seed", &seed.to_string(), "--out", text(&volume), "--truth", text(&truth)]);
        let asked = read(&truth).as_array().unwrap().clone();
        slices.insert(seed.to_string(), [0, 1].map(|end| asked[0]["truth"]["slices"][end].as_u64().unwrap()));
        items.extend(asked.into_iter().filter(|item| item["answer_choice"].is_string()));
    }
    assert_eq!(items.len(), TOPICS * seeds.len());
    std::fs::write(&data, Value::from(items).to_string()).unwrap();
    let model = place("model");
    let volumes = folder.path();
    let line = ["eval", "--model", text(&model), "--data", text(&data), "--volumes", text(volumes)];
    succeed(&[&line[..], &["--out", text(&out)], device].concat());
    let answer = |sample: &Value| {
        let [id, answer, topic] = ["id", "prediction", "topic"].map(|name| sample[name].as_str().unwrap().to_owned());
        let [first, last] = slices[id.split('-').next().unwrap()];
        let on_lesion = (first..=last).contains(&sample["top_slice"].as_u64().unwrap());
        let of_lesion = ["organ", "abnormality", "location"].contains(&topic.as_str());
        (id, Answer { answer, top_slice_on_lesion: of_lesion.then_some(on_lesion) })
    };
    read(&out)["samples"].as_array().unwrap().iter().map(answer).collect()
}

#[test]
fn the_demo_model_answers_as_frozen() {
    let cpu = answers(&SEEDS, &["--device", "cpu", "--precision", "exact"]);
    let emulated = answers(&SEEDS, &["--device", "emulated"]);
    let emulated = emulated.into_iter().filter(|(id, found)| found.answer != cpu[id].answer).collect();
    let found = Frozen { cpu, emulated };
    let path = place("frozen.json");
    if std::env::var_os("MED2E3_FREEZE").is_some() {
        std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
    }
    let frozen: Frozen = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (id, answer) in &frozen.cpu {
        assert_eq!((id, &found.cpu[id]), (id, answer));
    }
    assert_eq!(found, frozen);
}
