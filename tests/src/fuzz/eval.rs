//! Readers of `eval`: its data, and what an earlier run left.
use super::{Seed, case_folder, numbered, of_number, write};
use med2e3_eval::data::{self, Kind, Source};
use med2e3_eval::identity::Identity;
use med2e3_eval::results::{self, Results};
use med2e3_eval::tables::Tables;
use std::path::Path;

const DATA_FILES: [&str; 2] = ["data", "answers.json"];

/// The items that answers belong to, without answers of their own.
const ITEMS: &str = r#"[{"id": "0", "vision3d": ["a.npy"], "question": "Which plane?"},
{"id": 1, "vision3d": ["a.npy"], "question": "Where? Choices: A. Left B. Right", "question_type": 5}]"#;

pub(super) fn data_seeds() -> Vec<Seed> {
    let official = r#"[{"id": "0", "vision3d": ["a.npy"], "question": "Which plane?", "question_type": 1,
"answer": "B. Axial", "answer_choice": "B", "type": "closed", "truth": {"lesion": "cyst", "side": "left",
"slices": [2, 4]}, "conversations": [{"from": "human", "value": "<image3d>\nHi"}, {"from": "gpt", "value": "Yes"},
{"from": "human", "value": "Which plane? Choices: A. Coronal B. Axial"}]}, {"image3d": "b.npy", "question_type": 0,
"conversations": [{"from": "human", "value": "Describe it."}, {"from": "gpt", "value": "A cyst."}]}]"#;
    let rows = "Image Path,Text,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n\
        a.npy,\"A report, with a comma.\",1,Which plane is this?,Axial,Coronal,Sagittal,NA,Axial,A\n\
        b.npy,,5,Where is it?,Left,Right,Both,NA,Right,B\n";
    let captions = r#"{"train": [], "test": [{"image": "b.npy", "text": "report.txt"}]}"#;
    let answers = r#"[{"id": "0", "question_type": 1, "answer": "Axial"}, {"id": "1", "answer_choice": "B."}]"#;
    let data = [official, rows, captions].map(|text| numbered(0, text.as_bytes().to_vec()));
    data.into_iter().chain([numbered(1, answers.as_bytes().to_vec())]).collect()
}

/// The bytes are the items or the answers to sound ones.
pub(super) fn read_data(bytes: &[u8]) -> Result<(), String> {
    let Some((file, content)) = of_number(&DATA_FILES, bytes) else { return Err("is empty; give a file".into()) };
    let folder = case_folder();
    write(folder.path().join("report.txt"), "There is a nodule.\n");
    let [data, answers] = DATA_FILES.map(|name| folder.path().join(name));
    write(data.clone(), ITEMS);
    write(folder.path().join(DATA_FILES[file]), content);
    let answers = (file == 1).then_some(answers);
    let source = Source { answers, ..Source::new(data, folder.path()) };
    let items = data::read(&source).map_err(|error| error.to_string())?;
    assert!(!items.is_empty());
    for item in items {
        let is_closed = item.kind == Kind::Closed;
        assert!(!item.conversation.turns.is_empty() && item.choice.is_some() == is_closed, "{item:?}");
    }
    Ok(())
}

const RESULTS_FILES: [&str; 2] = ["out.json", "out.json.partial"];

/// A run of no model and no items.
fn run_of_nothing() -> Identity {
    Identity::of_hashes("model".to_owned(), "data".to_owned(), serde_json::Map::new())
}

pub(super) fn results_seeds() -> Vec<Seed> {
    let identity = serde_json::to_string(&run_of_nothing()).expect("text is JSON");
    let first = identity.strip_suffix('}').expect("an object");
    let sample = |index: usize, figures: &str| {
        format!(
            r#"{{"index": {index}, "id": "{index}", "topic": "plane", "volume": "a.npy", "question": "?", "reference":
            "axial", "prediction": "axial", "finish_reason": "stop", {figures}, "top_slice": 1,
            "slice_scores": [0.25, 0.75], "truth": {{"lesion": null, "side": null, "slices": [0, 1]}}}}"#
        )
        .replace('\n', "")
    };
    let scores = r#"{"bleu_1": 1.0, "rouge_1": 0.5, "meteor": 0.25}"#;
    let open = sample(0, &format!(r#""kind": "open", "correct": null, "scores": {scores}"#));
    let closed = sample(1, r#""kind": "closed", "correct": true, "scores": null"#);
    let tables = r#""tables": {"captions": null, "open": null, "closed": null, "lesions": null}"#;
    let finished = format!("{first}, {tables}, \"samples\": [{open}, {closed}]}}");
    let journal = format!("{identity}\n{open}\n{closed}\n{{\"index\": 2, \"id");
    vec![numbered(0, finished.into_bytes()), numbered(1, journal.into_bytes())]
}

/// The bytes are a finished run's file or the journal of one that was interrupted.
pub(super) fn read_results(bytes: &[u8]) -> Result<(), String> {
    let Some((file, content)) = of_number(&RESULTS_FILES, bytes) else { return Err("is empty; give a file".into()) };
    let folder = case_folder();
    let path = folder.path().join(RESULTS_FILES[file]);
    write(path.clone(), content);
    let figures = read_figures(&folder.path().join(RESULTS_FILES[0])).map_err(|error| {
        assert_eq!(std::fs::read(&path).expect("still there"), content, "what was refused has changed");
        error.to_string()
    })?;
    assert!(figures.iter().all(|figure| figure.is_finite()), "{figures:?}");
    Ok(())
}

/// Takes up the results at `out`, or their journal, as a run that goes on does, and reads them as `--beside` does: all
/// figures of the samples and of their averages.
fn read_figures(out: &Path) -> med2e3_eval::Result<Vec<f64>> {
    results::read_finished(out)?;
    let results = Results::open(run_of_nothing(), Some(out), false)?;
    let samples: Vec<_> = results.done.values().collect();
    let tables = Tables::of(&samples);
    let groups = [&tables.open, &tables.closed].into_iter().flatten();
    let averages = groups.flat_map(|group| [&group.macro_average, &group.micro_average]).chain(&tables.captions);
    let averages = averages.flat_map(|averages| averages.figures.values().copied());
    let scores = samples.iter().flat_map(|sample| sample.slice_scores.iter().flatten());
    Ok(averages.chain(scores.map(|&score| f64::from(score))).collect())
}
