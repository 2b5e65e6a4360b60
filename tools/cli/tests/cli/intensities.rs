//! The demo's model answers the same about a patient's prepared `.npy`, the scan in Hounsfield units, and the DICOM
//! series that pydicom makes of it, whatever the value outside the field of view.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{succeed, text};

/// The first of the patients that no model is trained or chosen on.
const SEED: u64 = 3_000_000;
/// Patients by turns of four planes; how many it takes for enough axial ones, with room.
const PATIENTS_PER_AXIAL: usize = 5;
/// What is made of each scan: see `tools/cli/tests/python/dicom_series.py`.
const PADDED: [&str; 4] = ["_pad-2000", "_pad-3024", "_pad-32768", "_pad63536"];

/// Axial patients: in `tools/test --long` as many as the figures in the README rest on.
fn wanted() -> usize {
    if std::env::var_os("MED2E3_LONG").is_some() { 100 } else { 12 }
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Files of axial patients below one folder, and the closed questions about each.
struct Patients {
    folder: tempfile::TempDir,
    questions: BTreeMap<u64, Vec<Value>>,
}

impl Patients {
    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wanted = wanted();
        let prepared = folder.path().join("npy");
        let seed = SEED.to_string();
        let count = (PATIENTS_PER_AXIAL * wanted).to_string();
        succeed(&["phantom", "--seed", &seed, "--count", &count, "--out", text(&prepared)]);
        let mut questions: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for item in json(&prepared.join("truth.json")).as_array().unwrap() {
            if item["truth"]["plane"] == "Axial" && item["answer_choice"].is_string() {
                questions.entry(item["truth"]["seed"].as_u64().unwrap()).or_default().push(item.clone());
            }
        }
        assert!(questions.len() >= wanted, "{} axial patients of {count}", questions.len());
        let questions: BTreeMap<u64, Vec<Value>> = questions.into_iter().take(wanted).collect();
        let patients = Self { folder, questions };
        patients.write_series();
        patients
    }

    /// The scans in Hounsfield units, and what pydicom makes of them.
    fn write_series(&self) {
        let scans: Vec<PathBuf> = self.questions.keys().map(|seed| self.path(&format!("{seed}.nii.gz"))).collect();
        for (seed, scan) in self.questions.keys().zip(&scans) {
            succeed(&["phantom", "--seed", &seed.to_string(), "--out", text(scan)]);
        }
        let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = Command::new(crate_folder.join("../setup-python")).output().unwrap();
        assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
        let python = String::from_utf8(python.stdout).unwrap();
        let script = crate_folder.join("tests/python/dicom_series.py");
        let made = Command::new(python.trim()).arg(script).arg(self.folder.path()).args(&scans).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the demo's model answers about every form of every patient, by the question's id and the form.
    fn answers(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let forms = [".nii.gz", "_hu", "_air"].into_iter().chain(PADDED).map(|form| (form, format!("{{}}{form}")));
        let forms: Vec<(&str, String)> = [("npy", "npy/phantom_{}.npy".to_owned())].into_iter().chain(forms).collect();
        let mut items = Vec::new();
        for (seed, questions) in &self.questions {
            for (form, path) in &forms {
                items.extend(questions.iter().cloned().map(|mut item| {
                    item["id"] = format!("{form} {}", item["id"].as_str().unwrap()).into();
                    item["vision3d"] = [path.replace("{}", &seed.to_string())].as_slice().into();
                    item
                }));
            }
        }
        let [data, out] = ["data.json", "out.json"].map(|name| self.path(name));
        std::fs::write(&data, Value::from(items).to_string()).unwrap();
        let folder = text(self.folder.path());
        let asked = ["eval", "--model", MODEL, "--data", text(&data), "--volumes", folder, "--out", text(&out)];
        succeed(&[&asked[..], &["--device", "cpu", "--precision", "exact", "--batch", "16"]].concat());
        let mut answers: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for sample in json(&out)["samples"].as_array().unwrap() {
            let (form, id) = sample["id"].as_str().unwrap().split_once(' ').unwrap();
            let answer = sample["prediction"].as_str().unwrap();
            answers.entry(id.to_owned()).or_default().insert(form.to_owned(), answer.to_owned());
        }
        assert!(answers.values().all(|of_forms| of_forms.len() == forms.len()));
        answers
    }

    /// The voxels that the model would see.
    fn prepared(&self, name: &str, window: &str) -> Vec<f32> {
        let out = self.path("prepared.npy");
        let scan = self.path(name);
        let line = ["preprocess", "--volume", text(&scan), "--out", text(&out), "--force", "--size", "32,64,64"];
        succeed(&[&line[..], &["--window", window]].concat());
        let bytes = std::fs::read(&out).unwrap();
        bytes[bytes.len() - 4 * 32 * 64 * 64..].as_chunks::<4>().0.iter().map(|raw| f32::from_le_bytes(*raw)).collect()
    }
}

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../research/demo/model");

#[test]
fn the_demo_answers_alike_about_every_form_of_a_scan() {
    let patients = Patients::make();
    let answers = patients.answers();
    assert!(answers.len() >= 3 * wanted(), "{} questions", answers.len());
    let mut wrong = Vec::new();
    for (id, of_forms) in &answers {
        let of_npy = &of_forms["npy"];
        wrong.extend(
            of_forms
                .iter()
                .filter(|(_, answer)| *answer != of_npy)
                .map(|(form, answer)| format!("{id}: {answer:?} about {form}, {of_npy:?} about the .npy")),
        );
    }
    let asked = answers.values().map(|of_forms| of_forms.len() - 1).sum::<usize>();
    assert!(wrong.is_empty(), "{} of {asked} answers differ:\n{}", wrong.len(), wrong.join("\n"));

    for seed in patients.questions.keys() {
        let air = patients.prepared(&format!("{seed}_air"), "full");
        for padding in PADDED {
            let padded = patients.prepared(&format!("{seed}{padding}"), "full");
            let worst = air.iter().zip(&padded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-6, "{seed}{padding} is off by {worst}");
        }
    }
}
