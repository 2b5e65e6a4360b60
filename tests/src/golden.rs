//! Reads the goldens that `tools/research/golden/make.py` wrote; their format stands in
//! `tools/research/golden/README.md`.
use med2e3::prompt::{Conversation, Turn};
use med2e3::{Answer, Engine, Event, LoadOptions, Request, TgisMode, Trace};
use med2e3_kernels::Device;
use safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The committed goldens.
pub struct Goldens {
    root: PathBuf,
    index: Index,
}

#[derive(Deserialize)]
struct Index {
    subset: Subset,
    models: HashMap<String, Model>,
    cases: Vec<Case>,
}

/// Which elements of a large stage are stored.
#[derive(Clone, Copy, Deserialize)]
struct Subset {
    above: usize,
    stride: usize,
}

#[derive(Deserialize)]
struct Model {
    volume: String,
    files: HashMap<String, String>,
}

/// One model and one request.
#[derive(Clone, Deserialize)]
pub struct Case {
    /// For messages.
    pub name: String,
    /// Which checkpoint.
    pub model: String,
    /// Human and assistant by turns.
    pub messages: Vec<String>,
    /// Text that guides TG-IS, if it is not the last message.
    pub question: Option<String>,
    /// `checkpoint`, `uniform` or `max`.
    pub tgis: String,
    /// The request's limit.
    pub max_new_tokens: Option<usize>,
    stages: String,
    meta: String,
}

/// What PyTorch gave for a case.
#[derive(Deserialize)]
pub struct Facts {
    /// Ids of the prompt, -201 for the image.
    pub prompt_ids: Vec<i64>,
    /// Rows with the image's.
    pub prompt_rows: usize,
    /// Greedy ids without the eos.
    pub token_ids: Vec<u32>,
    /// Their text.
    pub text: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// The five best of the first steps.
    pub top_logprobs: Vec<Vec<(u32, f32)>>,
    stages: HashMap<String, StageFacts>,
}

#[derive(Deserialize)]
struct StageFacts {
    shape: Vec<usize>,
    mean: f64,
    max_abs: f64,
}

/// One stage's stored elements.
pub struct Stage {
    /// Elements of the whole stage.
    pub count: usize,
    /// Mean of the whole stage.
    pub mean: f64,
    /// Largest magnitude in the whole stage.
    pub max_abs: f64,
    values: Vec<f32>,
    stride: Option<usize>,
}

impl Stage {
    /// Row-major index and value of each stored element.
    pub fn elements(&self) -> impl Iterator<Item = (usize, f32)> {
        let at = |k: usize| self.stride.map_or(k, |stride| k * stride % self.count);
        self.values.iter().enumerate().map(move |(k, &value)| (at(k), value))
    }
}

/// How far bf16 PyTorch is from f32 PyTorch on a case.
#[derive(Deserialize)]
pub struct Floor {
    /// Mean difference of the five best log-probabilities over all steps, under the golden's tokens.
    pub logprob_mean: f64,
    /// The largest of them.
    pub logprob_max: f64,
    /// Largest relative difference of a slice score, where there are scores.
    pub score_relative_max: Option<f64>,
    /// Per stage: largest and root mean square difference, relative to the stage's largest magnitude.
    pub stages: HashMap<String, [f64; 2]>,
}

#[derive(Deserialize)]
struct Floors {
    cases: HashMap<String, Floor>,
}

/// What a device makes of a case.
pub struct Run {
    /// The answer, with five log-probabilities per step.
    pub answer: Answer,
    /// Every stage.
    pub trace: Trace,
    /// The text as it was streamed.
    pub streamed: String,
}

/// Loads a checkpoint as a case wants it.
///
/// # Panics
/// If it does not load.
pub fn load(device: Arc<dyn Device>, model: &Path, case: &Case) -> Engine {
    load_for(1, device, model, case)
}

/// As [`load`], to answer `batch` questions at a time.
///
/// # Panics
/// As [`load`].
pub fn load_for(batch: usize, device: Arc<dyn Device>, model: &Path, case: &Case) -> Engine {
    let folder = med2e3_loaders::ModelFolder::open(model).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let tgis = match case.tgis.as_str() {
        "checkpoint" => TgisMode::Checkpoint,
        "uniform" => TgisMode::Uniform,
        "max" => TgisMode::Max,
        other => panic!("{}: unknown tgis {other}", case.name),
    };
    let options = LoadOptions { batch, tgis, ..LoadOptions::default() };
    Engine::load(device, &folder, &options, &mut |_| ControlFlow::Continue(()))
        .unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

impl Goldens {
    /// Runs a case, greedily or with the given tokens.
    ///
    /// # Panics
    /// If anything fails.
    pub fn run(&self, device: Arc<dyn Device>, case: &Case, forced: Option<Vec<u32>>) -> Run {
        let engine = load(device, self.model_folder(&case.model).path(), case);
        let volume = self.volume(&case.model);
        let encoded = engine.encode_traced(volume).and_then(|encoded| encoded.wait().map(|()| encoded));
        let encoded = encoded.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let mut trace = encoded.take_trace().expect("asked for");
        let turn = |pair: &[String]| Turn { question: pair[0].clone(), answer: pair.get(1).cloned() };
        let request = Request {
            conversation: Conversation { turns: case.messages.chunks(2).map(turn).collect() },
            guide: case.question.clone(),
            max_new_tokens: case.max_new_tokens,
            logprobs: 5,
            trace: true,
            forced,
            ..Request::new("")
        };
        let mut streamed = String::new();
        let answering = engine.submit(&encoded, request).unwrap_or_else(|e| panic!("{}: {e}", case.name));
        let answer = answering.finish_with(&mut |event| {
            if let Event::Token { text, .. } | Event::Text(text) = event {
                streamed.push_str(text);
            }
            ControlFlow::Continue(())
        });
        let mut answer = answer.unwrap_or_else(|e| panic!("{}: {e}", case.name));
        trace.tensors.extend(answer.trace.take().expect("asked for").tensors);
        Run { answer, trace, streamed }
    }

    /// How far bf16 PyTorch is from f32 PyTorch, by case.
    ///
    /// # Panics
    /// If the file is broken.
    pub fn floors(&self) -> HashMap<String, Floor> {
        parse::<Floors>(&self.root.join("bf16_floor.json")).cases
    }

    /// Opens the committed goldens.
    ///
    /// # Panics
    /// If they are missing or broken: they are part of the repository.
    pub fn open() -> Self {
        let committed = || Path::new(env!("CARGO_MANIFEST_DIR")).join("data/golden");
        // A machine that only runs the tests has them beside the binaries.
        let root = std::env::var_os("MED2E3_GOLDEN").map_or_else(committed, PathBuf::from);
        let index = parse(&root.join("cases.json"));
        Self { root, index }
    }

    /// All cases.
    pub fn cases(&self) -> Vec<Case> {
        self.index.cases.clone()
    }

    /// A checkpoint in the official layout, in a folder of its own that vanishes when dropped.
    ///
    /// # Panics
    /// If a file cannot be copied.
    pub fn model_folder(&self, model: &str) -> TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (place, source) in self.model_files(model) {
            let target = folder.path().join(place);
            std::fs::create_dir_all(target.parent().expect("inside the folder")).expect("a folder");
            std::fs::copy(&source, target).unwrap_or_else(|e| panic!("{}: {e}", source.display()));
        }
        folder
    }

    /// The files of a checkpoint in the official layout: the place of each in the model's folder, and where it is.
    pub fn model_files(&self, model: &str) -> Vec<(String, PathBuf)> {
        let files = &self.index.models[model].files;
        files.iter().map(|(place, source)| (place.clone(), self.root.join(source))).collect()
    }

    /// The path of the model's volume, prepared and of the right size.
    pub fn volume_path(&self, model: &str) -> PathBuf {
        self.root.join(&self.index.models[model].volume)
    }

    /// The voxels of the model's volume: the f32 payload that ends the npy file.
    ///
    /// # Panics
    /// If the file is broken.
    pub fn volume(&self, model: &str) -> Vec<f32> {
        let bytes = std::fs::read(self.volume_path(model)).expect("committed");
        let header = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[header..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    /// What PyTorch gave.
    ///
    /// # Panics
    /// If the file is broken.
    pub fn facts(&self, case: &Case) -> Facts {
        parse(&self.root.join(&case.meta))
    }

    /// The stored stages by name.
    ///
    /// # Panics
    /// If the file is broken.
    pub fn stages(&self, case: &Case) -> HashMap<String, Stage> {
        let bytes = std::fs::read(self.root.join(&case.stages)).expect("committed");
        let stored = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let facts = self.facts(case);
        let stage = |(name, facts): (String, StageFacts)| {
            let data = stored.tensor(&name).unwrap_or_else(|e| panic!("{}: {name}: {e}", case.name)).data().to_vec();
            let values = data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            let count = facts.shape.iter().product();
            let stride = (count > self.index.subset.above).then_some(self.index.subset.stride);
            (name, Stage { count, mean: facts.mean, max_abs: facts.max_abs, values, stride })
        };
        facts.stages.into_iter().map(stage).collect()
    }
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
