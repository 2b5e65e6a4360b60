//! `eval` on tiny data in every format, interrupted, and wrong.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{command, fail, json as run_json, succeed, text, tiny_model};

mod choices;

/// A folder with two volumes and data files in all formats.
struct Data {
    folder: tempfile::TempDir,
}

impl Data {
    fn new() -> Self {
        let data = Self { folder: tempfile::tempdir().unwrap() };
        for (name, edge) in [("a.npy", 8), ("b.npy", 14)] {
            let voxels = |i: usize| if i / 24 % 20 > edge { 0.8 } else { 0.1 + 0.01 * (i % 7) as f32 };
            let voxels: Vec<f32> = (0..8 * 20 * 24).map(voxels).collect();
            med2e3_loaders::volume::write_npy(&data.path(name), [8, 20, 24], &voxels).unwrap();
        }
        data.write("official.json", &official().to_string());
        data.write(
            "vqa.csv",
            "Image Path,Text,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n\
             a.npy,\"A report, with a comma.\",1,Which plane is this?,Axial,Coronal,Sagittal,NA,Axial,A\n\
             b.npy,,5,Where is the lesion?,Left,Right,Bilateral,NA,Right,B\n",
        );
        data.write("cap.json", &json!({"train": [], "test": [{"image": "b.npy", "text": "b.txt"}]}).to_string());
        data.write("b.txt", "There is a nodule.\n");
        data
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// The command line for a data file, and more arguments.
    fn eval(&self, data: &str, more: &[&str]) -> Vec<String> {
        let (file, volumes) = (self.path(data), self.folder.path());
        let mut line = vec!["eval", "--model", tiny_model(), "--data", text(&file), "--volumes", text(volumes)];
        line.extend(["--max-new-tokens", "6"].iter().chain(more));
        line.into_iter().map(str::to_owned).collect()
    }

    fn results(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }
}

fn item(id: &str, volume: &str, question: &str, more: Value) -> Value {
    let mut item = json!({
        "question": question,
        "vision3d": [volume],
        "id": id,
        "conversations": [{"value": format!("<image3d>\n{question}"), "from": "human"}],
    });
    item.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item
}

fn official() -> Value {
    let plane = "Which plane is this? Choices: A. Axial B. Coronal C. Sagittal D. Oblique";
    json!([
        item("0", "a.npy", plane, json!({"question_type": 1, "answer": "A. Axial"})),
        item("1", "b.npy", plane, json!({"question_type": 1, "answer": "B. Coronal"})),
        item("2", "a.npy", "Is there an effusion?", json!({"question_type": 4, "answer": "No"})),
        item("3", "a.npy", "Where is it?", json!({"question_type": "location", "answer": "in the left kidney"})),
        item("4", "b.npy", "Describe these findings.", json!({"question_type": 0, "answer": "A cyst. No mass."})),
    ])
}

#[test]
fn official_items_give_tables_and_samples() {
    let data = Data::new();
    let out = data.path("out.json");
    let printed = succeed(&data.eval("official.json", &["--out", text(&out), "--slice-scores"]));
    for line in ["Captions", "Open-ended VQA", "Closed-ended VQA", "macro average", "METEOR (no synonyms)", "BERTScore"]
    {
        assert!(printed.contains(line), "{line} in\n{printed}");
    }
    assert!(!data.path("out.json.partial").exists());
    let results = data.results("out.json");
    let samples = results["samples"].as_array().unwrap();
    let kinds: Vec<&str> = samples.iter().map(|sample| sample["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["closed", "closed", "open", "open", "caption"]);
    assert_eq!((&samples[3]["topic"], &samples[4]["topic"]), (&json!("location"), &Value::Null));
    for sample in samples {
        let scores: Vec<f64> = serde_json::from_value(sample["slice_scores"].clone()).unwrap();
        let top = sample["top_slice"].as_u64().unwrap() as usize;
        assert!(scores.iter().all(|score| *score <= scores[top]), "{sample}");
        let closed = sample["kind"] == "closed";
        assert_eq!((sample["correct"].is_boolean(), sample["scores"].is_null()), (closed, closed), "{sample}");
    }
    let accuracy = samples[..2].iter().filter(|sample| sample["correct"] == json!(true)).count() as f64 / 2.0;
    assert_eq!(results["tables"]["closed"]["micro"]["accuracy"], json!(accuracy));
    assert_eq!(results["tables"]["captions"]["bleu_1"], samples[4]["scores"]["bleu_1"]);

    // The same answer as to a single question.
    let volume = data.path("a.npy");
    let (prompt, question) = ("<image3d>\nIs there an effusion?", "Is there an effusion?");
    let line = ["generate", "--model", tiny_model(), "--volume", text(&volume), "--prompt", prompt, "--json"];
    let single = run_json(&[&line[..], &["--question", question, "--max-new-tokens", "6"]].concat());
    assert_eq!(samples[2]["prediction"].as_str().unwrap(), single["text"].as_str().unwrap().trim());
    assert_eq!(samples[2]["top_slice"], single["top_slices"][0]["slice"]);

    // Run again, it has nothing left to do, and says the same.
    assert_eq!(succeed(&data.eval("official.json", &["--out", text(&out), "--slice-scores"])), printed);
    assert_eq!(data.results("out.json"), results);
}

#[test]
fn m3d_files_are_read() {
    let data = Data::new();
    let items = |file: &str, more: &[&str]| {
        let out = data.path("m3d.json");
        let more = [&["--restart", "--json", "--out", text(&out)], more].concat();
        let report = run_json(&data.eval(file, &more));
        let samples = data.results("m3d.json")["samples"].as_array().unwrap().clone();
        assert_eq!(report["items"], json!(samples.len()));
        samples
    };
    let ids = |samples: &[Value]| samples.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let both = items("vqa.csv", &[]);
    assert_eq!(ids(&both), ["1-open", "1-closed", "2-open", "2-closed"]);
    assert_eq!(both[3]["question"], "Where is the lesion? Choices: A. Left B. Right C. Bilateral");
    assert_eq!((&both[3]["reference"], &both[2]["reference"]), (&json!("B. Right"), &json!("Right")));
    assert_eq!((&both[0]["topic"], &both[3]["topic"]), (&json!("plane"), &json!("location")));
    assert_eq!(ids(&items("vqa.csv", &["--questions", "closed", "--limit", "1"])), ["1-closed"]);
    let captions = items("cap.json", &["--caption-question", "What is there?"]);
    assert_eq!((&captions[0]["kind"], &captions[0]["question"]), (&json!("caption"), &json!("What is there?")));
    assert_eq!(captions[0]["reference"], "There is a nodule.\n");
}

#[test]
fn a_blind_model_answers_alike_whatever_the_volume() {
    let data = Data::new();
    let (seeing, blind) = (data.path("seeing.json"), data.path("blind.json"));
    succeed(&data.eval("official.json", &["--slice-scores", "--out", text(&seeing)]));
    succeed(&data.eval("official.json", &["--slice-scores", "--out", text(&blind), "--blind"]));
    let scores = |name: &str, index: usize| data.results(name)["samples"][index]["slice_scores"].clone();
    assert_eq!(scores("blind.json", 0), scores("blind.json", 1));
    assert_ne!(scores("seeing.json", 0), scores("seeing.json", 1));
    let out = text(&seeing);
    let printed = succeed(&data.eval("official.json", &["--slice-scores", "--out", out, "--beside", text(&blind)]));
    assert!(printed.contains("accuracy  blind"), "{printed}");
}

/// However many questions are answered at a time, the answers are the same; more than the kernels take is refused.
#[test]
fn batches_change_no_answer() {
    let data = Data::new();
    let results = |batch: &str| {
        let name = format!("{batch}.json");
        succeed(&data.eval("official.json", &["--batch", batch, "--out", text(&data.path(&name))]));
        data.results(&name)["samples"].clone()
    };
    let alone = results("1");
    for batch in ["2", "16"] {
        assert_eq!(results(batch), alone, "{batch} at a time");
    }
    for wrong in ["0", "257", "many"] {
        let said = fail(&data.eval("official.json", &["--batch", wrong]), 2);
        assert!(said.contains("wanted a whole number, 1 to 256"), "{said}");
    }
}

/// Starts a run and stops it with a signal once the journal holds `lines`.
fn stop_at(line: &[String], journal: &Path, lines: usize, signal: &str) -> Option<i32> {
    let mut child = command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let count = || std::fs::read_to_string(journal).map_or(0, |text| text.lines().count());
    while count() < lines {
        assert!(started.elapsed() < Duration::from_secs(60) && child.try_wait().unwrap().is_none(), "ran too fast");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

#[test]
fn an_interrupted_run_goes_on_where_it_was() {
    let data = Data::new();
    let question = |index: usize| format!("What is in slice {index}?");
    let volume = |index: usize| if index.is_multiple_of(2) { "a.npy" } else { "b.npy" };
    let items: Vec<Value> = (0..40)
        .map(|index| item(&index.to_string(), volume(index), &question(index), json!({"answer": "a cyst"})))
        .collect();
    data.write("many.json", &Value::from(items).to_string());
    let (out, whole) = (data.path("out.json"), data.path("whole.json"));
    let journal = data.path("out.json.partial");
    let line = data.eval("many.json", &["--threads", "1", "--out", text(&out)]);
    assert_eq!(stop_at(&line, &journal, 4, "-INT"), Some(130));
    let kept = std::fs::read_to_string(&journal).unwrap().lines().count();
    assert_eq!(stop_at(&line, &journal, kept + 3, "-KILL"), None);
    assert!(!out.exists());
    // As if the machine had stopped in the middle of a line.
    let torn = std::fs::read_to_string(&journal).unwrap() + "{\"index\":39,\"id\":\"3";
    std::fs::write(&journal, torn).unwrap();

    let refused = fail(&data.eval("many.json", &["--out", text(&out), "--blind"]), 2);
    assert!(refused.contains("blind false, and now it is true") && refused.contains("--restart"), "{refused}");
    let refused = fail(&data.eval("many.json", &["--out", text(&out), "--limit", "9"]), 2);
    assert!(refused.contains("other items") && refused.contains("--restart"), "{refused}");

    let finished = crate::run(&line);
    assert_eq!(finished.status, Some(0), "{}", finished.stderr);
    assert!(finished.stderr.contains("of 40 questions are answered already"), "{}", finished.stderr);
    succeed(&data.eval("many.json", &["--threads", "1", "--out", text(&whole)]));
    assert_eq!(data.results("out.json"), data.results("whole.json"));
    assert!(!journal.exists());
}

#[test]
fn another_model_needs_a_restart() {
    let data = Data::new();
    let (out, model) = (data.path("out.json"), data.path("model"));
    let mut line = data.eval("vqa.csv", &["--out", text(&out), "--limit", "1"]);
    succeed(&line);
    succeed(&["make-model", "--preset", "tiny", "--seed", "6", "--out", text(&model)]);
    line[2] = text(&model).to_owned();
    assert!(fail(&line, 2).contains("another model"));
    succeed(&[&line[..], &["--restart".to_owned()]].concat());
    data.write("foreign.json", "{\"mine\": 1}");
    let foreign = data.path("foreign.json");
    let refused = fail(&data.eval("vqa.csv", &["--out", text(&foreign), "--restart"]), 2);
    assert!(refused.contains("does not hold results of eval"), "{refused}");
    assert_eq!(std::fs::read_to_string(&foreign).unwrap(), "{\"mine\": 1}");
}

/// Answers of another format are named, left alone, and used neither at --out nor --beside; --restart discards them.
#[test]
fn results_of_another_format_are_not_mixed_in() {
    let data = Data::new();
    let out = data.path("out.json");
    let journal = data.path("out.json.partial");
    let other = data.path("other.json");
    let line = |more: &[&str]| data.eval("vqa.csv", &[&["--limit", "1", "--out", text(&out)], more].concat());
    succeed(&line(&[]));
    for format in [1, 3] {
        let mut earlier = data.results("out.json");
        earlier["format"] = json!(format);
        let first = ["format", "version", "model", "data", "options"].map(|key| (key.to_owned(), earlier[key].clone()));
        let first = serde_json::Map::from_iter(first);
        let lines = format!("{}\n{}\n", Value::from(first), earlier["samples"][0]);
        std::fs::write(&other, earlier.to_string()).unwrap();
        let said = format!("holds results of format {format}, from version {}", env!("CARGO_PKG_VERSION"));

        let refused = fail(&line(&["--beside", text(&other)]), 2);
        assert!(refused.contains(&said) && !refused.contains("--restart"), "{refused}");
        for (written, kept) in [(&out, earlier.to_string()), (&journal, lines)] {
            std::fs::remove_file(&out).unwrap();
            std::fs::write(written, &kept).unwrap();
            let refused = fail(&line(&[]), 2);
            assert!(refused.contains(&said) && refused.contains("this one reads format 2; add --restart"), "{refused}");
            assert_eq!(std::fs::read_to_string(written).unwrap(), kept);
            succeed(&line(&["--restart"]));
            assert_eq!((&data.results("out.json")["format"], journal.exists()), (&json!(2), false));
        }
    }
}

/// Figures that do not fit a sample's kind, numbers that are not finite, and samples of other items.
#[test]
fn damaged_samples_are_refused() {
    let data = Data::new();
    let out = data.path("out.json");
    let journal = data.path("out.json.partial");
    let line = data.eval("vqa.csv", &["--questions", "open", "--slice-scores", "--out", text(&out)]);
    succeed(&line);
    let whole = data.results("out.json");
    let first = ["format", "version", "model", "data", "options"].map(|key| (key.to_owned(), whole[key].clone()));
    let first = Value::from(serde_json::Map::from_iter(first)).to_string();
    for (field, value, wanted) in [
        ("scores", "null", "has figures of another kind of question"),
        ("correct", "true", "has figures of another kind of question"),
        ("bleu_1", "1.5", "has a score that is not within 0 to 1"),
        ("slice_scores", "[0.5, 1e300]", "number out of range"),
        ("index", "7", "item 7 has not the id `2-open`"),
        ("id", "\"9-open\"", "item 1 has not the id `9-open`"),
    ] {
        let mut sample = whole["samples"][1].clone();
        let place = if field == "bleu_1" { &mut sample["scores"][field] } else { &mut sample[field] };
        *place = json!("HERE");
        let sample = sample.to_string().replace("\"HERE\"", value);
        let finished = whole.to_string().replace(&whole["samples"][1].to_string(), &sample);
        let lines = format!("{first}\n{}\n{sample}\n", whole["samples"][0]);
        for (path, content, status) in [(&out, finished, 2), (&journal, lines, 3)] {
            let _ = std::fs::remove_file(&out);
            let _ = std::fs::remove_file(&journal);
            std::fs::write(path, &content).unwrap();
            let status = if wanted.starts_with("item") { 3 } else { status };
            let refused = fail(&line, status);
            assert!(refused.contains(wanted), "{field}: {refused}");
            assert_eq!(std::fs::read_to_string(path).unwrap(), content);
        }
    }
}

/// Not even the end of its last line is cut off.
#[test]
fn a_foreign_file_at_the_journals_place_is_left_alone() {
    let data = Data::new();
    let out = data.path("out.json");
    let journal = data.path("out.json.partial");
    let line = |more: &[&str]| data.eval("vqa.csv", &[&["--limit", "1", "--out", text(&out)], more].concat());
    for foreign in ["mine", "{\"mine\": 1}\nand more", "\n", "{\"format\": 2}\n", "{\"format\":2,\"version\":\"9.9"] {
        std::fs::write(&journal, foreign).unwrap();
        for more in [&[][..], &["--restart"]] {
            let refused = fail(&line(more), 2);
            assert!(refused.contains("out.json.partial: does not hold results of eval"), "{refused}");
            assert_eq!(std::fs::read_to_string(&journal).unwrap(), foreign);
        }
    }
    // The first line of this very run, torn, holds no answer.
    std::fs::write(&journal, "{\"format\":2,\"version\":\"").unwrap();
    succeed(&line(&[]));
    assert!(!journal.exists());
}

/// A journal without answers would only be in the way.
#[test]
fn a_run_that_answers_nothing_leaves_nothing() {
    let data = Data::new();
    let out = data.path("out.json");
    let item = json!([{"id": "0", "vision3d": ["a.npy"], "question": "why ".repeat(500), "answer": "so"}]);
    std::fs::write(data.path("long.json"), item.to_string()).unwrap();
    let refused = fail(&data.eval("long.json", &["--out", text(&out)]), 3);
    assert!(refused.contains("cut it"), "{refused}");
    assert!(!out.exists() && !data.path("out.json.partial").exists());
}

#[test]
fn bad_data_is_status_3_and_says_where() {
    let data = Data::new();
    let one = |more: Value| json!([item("7", "a.npy", "Is there a cyst?", more)]).to_string();
    let header = "Image Path,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n";
    let cases = [
        ("missing.json", one(json!({"vision3d": ["c.npy"], "answer": "no"})), "c.npy"),
        ("broken.json", "[{\"id\": ".to_owned(), "is not JSON"),
        ("empty.json", "[]".to_owned(), "holds no items"),
        ("nothing.csv", String::new(), "holds no items"),
        ("header.csv", header.to_owned(), "holds no items"),
        ("type.json", one(json!({"question_type": 9, "answer": "no"})), "question_type is `9`"),
        ("kind.json", one(json!({"type": "essay", "answer": "no"})), "`type` is \"essay\""),
        ("answer.json", one(json!({})), "has no answer"),
        ("truth.json", one(json!({"answer": "no", "truth": {"slices": [3, 2]}})), "slices from 3 to 2"),
        ("words.json", one(json!({"answer": "no", "truth": {"slices": "all"}})), "`truth`: "),
        ("two.json", one(json!({"vision3d": ["a.npy", "b.npy"], "answer": "no"})), "`vision3d` is"),
        ("closed.json", one(json!({"type": "closed", "answer": "yes"})), "names no choice"),
        ("turns.json", one(json!({"conversations": [{"from": "gpt", "value": "hi"}], "answer": "no"})), "alternate"),
        ("columns.csv", "Image Path,Question\na.npy,What?\n".to_owned(), "no column `Question Type`"),
        ("type.csv", format!("{header}a.npy,6,What?,a,b,c,d,b,B\n"), "row 1: Question Type is `6`"),
        ("choice.csv", format!("{header}a.npy,1,What?,a,b,c,d,b,E\n"), "Answer Choice is `E`"),
        ("ragged.csv", format!("{header}a.npy,1,What?\n"), "is not CSV"),
        ("split.json", json!({"train": [1, 2]}).to_string(), "train (2)"),
        ("report.json", json!({"test": [{"image": "a.npy", "text": "gone.txt"}]}).to_string(), "gone.txt"),
    ];
    for (name, content, wanted) in cases {
        data.write(name, &content);
        let sentence = fail(&data.eval(name, &[]), 3);
        assert!(sentence.contains(wanted), "{name}: {sentence}");
    }
    std::fs::write(data.path("latin.csv"), b"Image Path\xe9").unwrap();
    assert!(fail(&data.eval("latin.csv", &[]), 3).contains("is not UTF-8"));
    assert!(fail(&data.eval("nowhere.json", &[]), 3).contains("nowhere.json"));
}

#[test]
fn made_up_patients_are_read() {
    let data = Data::new();
    let (patients, out) = (patients(&data), data.path("out.json"));
    let truth = patients.join("truth.json");
    let line = ["eval", "--model", tiny_model(), "--data", text(&truth), "--volumes", text(&patients)];
    let report = run_json(&[&line[..], &["--max-new-tokens", "2", "--json", "--out", text(&out)]].concat());
    let items: Vec<Value> = serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap();
    assert_eq!((&report["items"], &report["captions"]["items"]), (&json!(items.len()), &json!(2)));
    for (item, sample) in items.iter().zip(data.results("out.json")["samples"].as_array().unwrap()) {
        assert_eq!((&sample["id"], &sample["reference"]), (&item["id"], &item["answer"]));
        assert_eq!(sample["kind"] == "closed", item["answer_choice"].is_string(), "{sample}");
        assert_eq!(sample["kind"] == "caption", item["question_type"] == 0, "{sample}");
    }
}

/// Two patients.
fn patients(data: &Data) -> PathBuf {
    let folder = data.path("patients");
    succeed(&["phantom", "--seed", "5", "--count", "2", "--out", text(&folder)]);
    folder
}

#[test]
fn slice_scores_are_compared_with_the_truth() {
    let data = Data::new();
    let (patients, out) = (patients(&data), data.path("out.json"));
    let truth: Vec<Value> = serde_json::from_slice(&std::fs::read(patients.join("truth.json")).unwrap()).unwrap();
    let line = |more: &[&str]| {
        let file = patients.join("truth.json");
        let line = ["eval", "--model", tiny_model(), "--data", text(&file), "--volumes", text(&patients)];
        let line = [&line[..], &["--max-new-tokens", "2"], more].concat();
        line.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let report = run_json(&line(&["--out", text(&out), "--json"]));
    let samples = data.results("out.json")["samples"].as_array().unwrap().clone();
    assert_eq!(data.results("out.json")["tables"]["lesions"], report["lesions"]);
    let scores = |sample: &Value| -> Vec<f64> { serde_json::from_value(sample["slice_scores"].clone()).unwrap() };
    let (mut mass, mut items) = (0.0, 0);
    for (item, sample) in truth.iter().zip(&samples) {
        for name in ["lesion", "side", "slices"] {
            assert_eq!(item["truth"][name], sample["truth"][name], "{sample}");
        }
        let slices: Option<[usize; 2]> = serde_json::from_value(sample["truth"]["slices"].clone()).unwrap();
        if let (Some([first, last]), Some("organ")) = (slices, sample["topic"].as_str()) {
            mass += scores(sample)[first..=last].iter().sum::<f64>();
            items += 1;
        }
    }
    let organ = &report["lesions"]["slice_scores"]["organ"];
    assert_eq!(organ["items"], items);
    assert!((organ["mass"].as_f64().unwrap() - mass / f64::from(items)).abs() < 1e-6, "{organ}");
    let printed = succeed(&line(&["--out", text(&out), "--beside", text(&out)]));
    for title in ["Slice scores on the lesion", "Captions that name", "Slice scores' distance"] {
        assert!(printed.contains(title), "{title} in\n{printed}");
    }

    // Swapped: the slices of each question are weighed by the next one of another topic.
    let swapped = data.path("swapped.json");
    let more = ["--swap-guides", "--out", text(&swapped), "--beside", text(&out), "--json"];
    let report = run_json(&line(&more));
    let after = data.results("swapped.json")["samples"].as_array().unwrap().clone();
    let place = |end: &str| samples.iter().position(|sample| sample["id"] == format!("5-{end}")).unwrap();
    for (asked, guide) in
        [("plane-closed", "phase-closed"), ("plane-open", "phase-closed"), ("caption", "plane-closed")]
    {
        assert_eq!(scores(&after[place(asked)]), scores(&samples[place(guide)]), "{asked}");
    }
    assert!(report["lost_by_swap"].is_object() && report["notes"].to_string().contains("weighed by another"));
    assert!(!succeed(&line(&["--swap-guides", "--out", text(&swapped)])).contains("lost when swapped"));
    assert!(fail(&line(&["--swap-guides", "--tgis", "uniform"]), 2).contains("no text weighs the slices"));
    assert!(fail(&line(&["--swap-guides", "--limit", "2"]), 2).contains("change --limit"));
    assert!(fail(&line(&["--swap-guides", "--blind"]), 2).contains("--blind"));
}

/// Table 3's row: the same weights with another configuration; what scores the slices is left over.
#[test]
fn a_model_of_3d_features_alone_has_no_slice_scores() {
    let data = Data::new();
    let (patients, model) = (patients(&data), data.path("model"));
    succeed(&["convert", "--model", tiny_model(), "--out", text(&model)]);
    let args = model.join("args/config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&args).unwrap()).unwrap();
    config["exp_id"] = json!(0);
    for object in ["vision3d_connector_type", "vision3d_connector_config"] {
        let kind = json!("spatial_pooling_mlp2x_gelu");
        let place =
            if config[object].is_object() { &mut config[object]["connector_type"] } else { &mut config[object] };
        *place = kind;
    }
    std::fs::write(&args, config.to_string()).unwrap();
    let file = patients.join("truth.json");
    let line = ["eval", "--model", text(&model), "--data", text(&file), "--volumes", text(&patients), "--limit", "3"];
    let outcome = crate::run(&[&line[..], &["--max-new-tokens", "2"]].concat());
    assert_eq!(outcome.status, Some(0), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("vision3d_connector/text_mlp.weight"), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("plane") && !outcome.stdout.contains("Slice scores"), "{}", outcome.stdout);
    assert!(fail(&[&line[..], &["--swap-guides"]].concat(), 2).contains("no text weighs this model's slices"));
}

#[test]
fn answers_may_stand_in_a_file_of_their_own() {
    let data = Data::new();
    let bare = |id: &str, question: &str| item(id, "a.npy", question, json!({}));
    data.write("bare.json", &json!([bare("0", "Which plane?"), bare("1", "Which organ?")]).to_string());
    let answers = |second: &str| {
        json!([
            {"id": "0", "question_type": 1, "answer_choice": "C"},
            {"id": second, "question_type": 3, "answer": "Liver"},
        ])
    };
    data.write("answers.json", &answers("1").to_string());
    data.write("mixed.json", &answers("5").to_string());
    let (out, good, mixed) = (data.path("out.json"), data.path("answers.json"), data.path("mixed.json"));
    succeed(&data.eval("bare.json", &["--answers", text(&good), "--out", text(&out)]));
    let samples = data.results("out.json")["samples"].clone();
    assert_eq!((&samples[0]["kind"], &samples[0]["reference"]), (&json!("closed"), &json!("C.")));
    assert_eq!((&samples[1]["kind"], &samples[1]["topic"]), (&json!("open"), &json!("organ")));
    assert!(fail(&data.eval("bare.json", &["--answers", text(&mixed)]), 3).contains("has id `5`"));
}
