//! `--demo`: a tiny model that this program carries, and a made-up patient, so that a first run needs no download.

use std::path::Path;

use med2e3_eval::truth::slices_on_input;
use med2e3_loaders::volume::{RawVolume, VolumeInfo, VolumeKind};
use med2e3_phantom::{Case, DIMS, Item, Scan, Topic};
use serde::Serialize;
use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::interrupt::Unfinished;
use crate::output;
use crate::terminal;

/// What is said before an answer about a scan of the user's.
pub const PHANTOMS_ALONE: &str =
    "the demo's model knows made-up patients alone, so what it says about another scan means nothing";
/// What is asked about a scan of the user's, unless the user asks something.
pub const QUESTION: &str = "What abnormality does this CT scan show?";
/// The patient unless the user names another: the first of those that no model is trained or chosen on.
pub const SEED: u64 = 3_000_000;

/// Each file's place in the model's folder, and its bytes.
macro_rules! files {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_bytes!(concat!("../../../research/demo/model/", $name)))),+] };
}

/// The model that `tools/research/demo` trains.
const MODEL: &[(&str, &[u8])] = files![
    "args/config.json",
    "llm/config.json",
    "llm/model.safetensors",
    "preprocess.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vision2d_connector/model.safetensors",
    "vision2d_model/config.json",
    "vision2d_model/model.safetensors",
    "vision3d_connector/model.safetensors",
    "vision3d_model/config.json",
    "vision3d_model/model.safetensors",
    "vision3d_model/vocab.txt",
];

/// The demo's model in a temporary folder, removed with this value.
pub struct TemporaryModel {
    folder: TempDir,
    _unfinished: Unfinished,
}

impl TemporaryModel {
    /// Writes the model's files.
    pub fn make() -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::runtime(format!("cannot make a temporary folder for the demo: {error}; set TMPDIR to one"))
        };
        let make = || {
            let folder = tempfile::Builder::new().prefix("engine-cli-demo-").tempdir()?;
            for (name, bytes) in MODEL {
                let path = folder.path().join(name);
                std::fs::create_dir_all(output::parent(&path))?;
                std::fs::write(&path, bytes)?;
            }
            Ok(folder)
        };
        let (unfinished, folder) = Unfinished::make(make).map_err(failed)?;
        Ok(Self { folder, _unfinished: unfinished })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// A made-up patient: the scan, what to ask about it, and what is right.
pub struct Patient {
    voxels: Vec<f32>,
    /// Closed-ended, about the abnormality.
    question: Item,
    caption: String,
}

/// What `--json` tells of the patient.
#[derive(Debug, Serialize)]
pub struct Truth {
    #[serde(flatten)]
    finding: med2e3_phantom::Truth,
    /// The right answer to the demo's own question; nothing where the user asked another.
    answer: Option<String>,
}

impl Patient {
    /// The patient of this number.
    pub fn new(seed: u64) -> Self {
        let case = Case::new(seed);
        let scan = Scan::new(&case, DIMS);
        let mut items = med2e3_phantom::items(&case, scan.lesion_slices, "");
        let mut take = |topic: Topic| {
            let found = items.iter().position(|item| item.question_type == topic as u8);
            items.swap_remove(found.expect("every patient has questions about the abnormality, and a caption"))
        };
        Self { voxels: scan.prepared(), question: take(Topic::Abnormality), caption: take(Topic::Caption).answer }
    }

    /// What is asked unless the user asks something.
    pub fn question(&self) -> &str {
        &self.question.question
    }

    /// What is right; the answer is to the patient's own question.
    pub fn truth(&self, own_question: bool) -> Truth {
        let answer = own_question.then(|| self.question.answer.clone());
        Truth { finding: self.question.truth.clone(), answer }
    }

    /// The scan.
    pub fn volume(&self) -> RawVolume {
        let info = VolumeInfo {
            format: "phantom".into(),
            source_dims: DIMS.to_vec(),
            dtype: "f32".into(),
            range: [0.0, 1.0],
            ..VolumeInfo::default()
        };
        RawVolume { voxels: self.voxels.clone(), dims: DIMS, kind: VolumeKind::Prepared, info }
    }

    /// The truth beside the slice scores, for a person at a terminal. `sources` holds the first and last of the scan's
    /// slices that each of the model's is made from.
    pub fn compare(&self, own_question: bool, scores: Option<&[f32]>, sources: &[[usize; 2]]) -> Vec<String> {
        let right = if own_question { format!("{}; ", self.question.answer) } else { String::new() };
        let mut lines = vec![format!("truth:    {right}{}", self.caption)];
        let Some(scores) = scores else { return lines };
        let lesion = self.question.truth.slices.and_then(|slices| slices_on_input(slices, sources));
        lines.push(format!("slices:   {}", terminal::score_line(scores)));
        if let Some([first, last]) = lesion {
            let mass: f32 = scores[first..=last].iter().sum();
            let mark = format!("{}{}", " ".repeat(first), "^".repeat(last + 1 - first));
            let share = 100.0 * (last + 1 - first) as f32 / scores.len() as f32;
            lines.push(format!("lesion:   {mark}"));
            lines.push(format!(
                "          slices {first} to {last}, {share:.0} % of all, hold {:.0} % of the scores",
                100.0 * mass
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lesion_is_marked_under_its_slices() {
        let patient = (0..).map(Patient::new).find(|patient| patient.question.truth.slices.is_some()).unwrap();
        let [first, last] = patient.question.truth.slices.unwrap();
        let mut scores = [0.01; 32];
        scores[first] = 0.69;
        let sources: Vec<[usize; 2]> = (0..32).map(|slice| [slice, slice]).collect();
        let lines = patient.compare(true, Some(&scores), &sources);
        assert!(lines[0].contains(&patient.question.answer) && lines[0].ends_with(&patient.caption), "{}", lines[0]);
        let at = |line: &str, wanted: char| line.chars().position(|c| c == wanted).unwrap();
        assert_eq!((at(&lines[1], '█'), at(&lines[2], '^')), (10 + first, 10 + first));
        assert_eq!((lines[1].chars().count(), lines[2].len()), (10 + 32, 10 + last + 1));
        let held = 69 + last - first;
        assert!(lines[3].contains(&format!("slices {first} to {last}, ")), "{}", lines[3]);
        assert!(lines[3].contains(&format!("hold {held} % of the scores")), "{}", lines[3]);
        assert_eq!(patient.compare(false, None, &sources), [format!("truth:    {}", patient.caption)]);
    }

    #[test]
    fn a_healthy_patient_has_no_mark() {
        let patient = (0..).map(Patient::new).find(|patient| patient.question.truth.slices.is_none()).unwrap();
        let sources = [[0, 0], [1, 1]];
        let lines = patient.compare(true, Some(&[0.5, 0.5]), &sources);
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("No lesion.") && lines[1].ends_with("██"), "{lines:?}");
        assert_eq!(patient.truth(false).answer, None);
    }
}
