//! An evaluation without the command line: the demo's model answers questions about two volumes.

use std::path::{Path, PathBuf};

use med2e3::volume::VolumeOptions;
use med2e3::{DeviceChoice, Engine, LoadOptions, ModelFolder};
use med2e3_eval::data::{self, Item, Source};
use med2e3_eval::identity::Identity;
use med2e3_eval::metrics::Scorer;
use med2e3_eval::results::{self, Finished, Results};
use med2e3_eval::run::{Event, Run};
use med2e3_eval::{Error, Result};

const ITEMS: &str = r#"[
{"id": "plane", "vision3d": ["a.npy"], "question": "What is the plane of this CT scan?", "question_type": 1,
 "answer": "Axial"},
{"id": "organ", "vision3d": ["b.npy"], "question": "Which organ has the lesion? Choices: A. Lung B. Liver C. Spleen",
 "question_type": 3, "answer": "B. Liver", "answer_choice": "B"},
{"id": "caption", "vision3d": ["a.npy"], "question": "Describe the findings of this CT scan.", "question_type": 0,
 "answer": "Axial CT, delayed phase. No lesion."}]"#;

/// A data set of three questions, and a model.
struct Rig {
    _folder: tempfile::TempDir,
    source: Source,
    items: Vec<Item>,
    engine: Engine,
    options: VolumeOptions,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, seed) in [("a.npy", 3), ("b.npy", 4)] {
            let voxels: Vec<f32> = (0..32 * 64 * 64).map(|at| (at * seed % 97) as f32 / 96.0).collect();
            med2e3_loaders::volume::write_npy(&folder.path().join(name), [32, 64, 64], &voxels).unwrap();
        }
        let file = folder.path().join("data.json");
        std::fs::write(&file, ITEMS).unwrap();
        let source = Source::new(file, folder.path());
        let items = data::read(&source).unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../research/demo/model");
        let model = ModelFolder::open(&model).unwrap();
        let device = DeviceChoice::Cpu.open(None, &model).unwrap();
        let engine =
            Engine::load(device, &model, &LoadOptions::default(), &mut |_| std::ops::ControlFlow::Continue(()))
                .unwrap();
        let options = VolumeOptions { model_window: model.window, ..VolumeOptions::default() };
        Self { _folder: folder, source, items, engine, options }
    }

    fn out(&self) -> PathBuf {
        self.source.volumes.join("out.json")
    }

    fn open(&self, out: Option<&Path>) -> Result<Results> {
        let identity = Identity::of_hashes("model".to_owned(), "data".to_owned(), serde_json::Map::new());
        Results::open(identity, out, false)
    }

    /// Answers the first items that have no answer yet. How many had one after each step.
    fn answer(&mut self, items: usize, results: &mut Results) -> Vec<usize> {
        let run = Run {
            items: &self.items[..items],
            source: &self.source,
            guides: None,
            scorer: Scorer::default(),
            volume_options: self.options.clone(),
            blind: false,
            slice_scores: true,
            score_choices: false,
            max_new_tokens: Some(4),
            batch: 1,
        };
        let mut counts = Vec::new();
        let mut note = |event: Event<'_>| {
            if let Event::Answered(count) = event {
                counts.push(count);
            }
        };
        run.answer(&self.engine, results, &mut note).unwrap();
        counts
    }
}

fn finish(results: Results) -> Finished {
    results
        .finish(|path, bytes| std::fs::write(path, bytes).map_err(|error| Error::Runtime(error.to_string())))
        .unwrap()
}

#[test]
fn every_question_is_answered_and_judged_by_its_kind() {
    let mut rig = Rig::new();
    let mut results = rig.open(None).unwrap();
    assert_eq!(rig.answer(3, &mut results), [0, 1, 2, 3]);
    let finished = finish(results);
    let ids: Vec<&str> = finished.samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!(ids, ["plane", "organ", "caption"], "the data's order");
    for sample in &finished.samples {
        assert_eq!((sample.correct.is_some(), sample.scores.is_none()), (sample.id == "organ", sample.id == "organ"));
        assert_eq!(sample.slice_scores.as_ref().map(Vec::len), Some(32), "{}", sample.id);
    }
    let tables = &finished.tables;
    let items = |average: Option<usize>| average.unwrap_or(0);
    assert_eq!(items(tables.captions.as_ref().map(|captions| captions.items)), 1);
    assert_eq!(items(tables.open.as_ref().map(|open| open.micro_average.items)), 1);
    assert_eq!(items(tables.closed.as_ref().map(|closed| closed.micro_average.items)), 1);
}

#[test]
fn a_run_goes_on_where_another_ended() {
    let mut rig = Rig::new();
    let whole = {
        let mut results = rig.open(None).unwrap();
        rig.answer(3, &mut results);
        finish(results)
    };
    let out = rig.out();
    let mut results = rig.open(Some(&out)).unwrap();
    rig.answer(1, &mut results);
    let busy = rig.open(Some(&out)).err().expect("one run at a time").to_string();
    assert!(busy.contains("another run is writing to it"), "{busy}");
    drop(results);
    let mut results = rig.open(Some(&out)).unwrap();
    assert_eq!(rig.answer(3, &mut results), [1, 2, 3], "the first has its answer");
    let finished = finish(results);
    assert_eq!(finished.samples, whole.samples);
    assert!(!results::written(&out)[1].exists(), "the journal is gone");
    let read = results::read_finished(&out).unwrap().expect("there are results");
    assert_eq!((read.samples, read.tables), (finished.samples, finished.tables));
}

#[test]
fn a_failed_write_leaves_the_journal() {
    let mut rig = Rig::new();
    let out = rig.out();
    let mut results = rig.open(Some(&out)).unwrap();
    rig.answer(3, &mut results);
    let failed = results.finish(|_, _| Err(Error::Runtime("no room".to_owned())));
    assert_eq!(failed.err().map(|error| error.to_string()), Some("no room".to_owned()));
    assert_eq!(rig.open(Some(&out)).unwrap().done.len(), 3, "nothing is asked again");
}
