//! The kinds of input: which files are mutated, what lies beside them, and what is run on them.

use std::path::{Path, PathBuf};

use engine_tests::fuzz::{Seed, Target, target, with_header, with_pickle};
use engine_tests::golden::Goldens;

use crate::program;

/// A kind of input.
pub struct Kind {
    /// Also the test's name.
    pub name: &'static str,
    /// What a run may end with.
    pub statuses: &'static [i32],
    /// The files that are mutated, by turns.
    pub places: Vec<Place>,
    /// What lies in the case's folder before: paths and contents.
    pub sound: Vec<(String, Content)>,
    /// What a run that succeeds may make or change.
    pub outputs: &'static [&'static str],
}

/// What is mutated of a file.
type Seeds = fn(Vec<u8>) -> Vec<Seed>;

/// A file that is mutated.
pub struct Place {
    /// In the case's folder.
    pub path: String,
    /// What it holds, the usual content first.
    pub seeds: Vec<Seed>,
    /// What is run, by turns; `{}` stands for the path.
    pub commands: &'static [&'static str],
}

/// What a file holds.
pub enum Content {
    Bytes(Vec<u8>),
    /// A link, for files that are large and no business of the case.
    LinkTo(PathBuf),
}

/// Writes a file, and the folders above it.
pub fn put(path: &Path, content: &Content) {
    std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
    let put = match content {
        Content::Bytes(bytes) => std::fs::write(path, bytes),
        Content::LinkTo(target) => std::os::unix::fs::symlink(target, path),
    };
    put.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What is run on a volume's file.
const ON_FILE: &[&str] = &[
    "preprocess --volume {} --out out.npy --size 4,6,3",
    "inspect --volume {} --json",
    "generate --model model --volume {} --prompt Where? --max-new-tokens 2 --json",
    "preprocess --volume {} --out out.npy --size 4,6,3 --slice-order inferior-first --index 0",
];
/// What is run on a folder of slices.
const ON_FOLDER: &[&str] = &[
    "preprocess --volume scan --out out.npy --size 4,6,3",
    "inspect --volume scan --json",
    "preprocess --volume scan --out out.npy --size 4,6,3 --allow-gaps --index 0",
];
/// What is run on a model.
const ON_MODEL: &[&str] = &[
    "generate --model model --volume volume.npy --prompt Where? --max-new-tokens 3 --json",
    "inspect --model model",
    "inspect --model model --weights",
    "convert --model model --out converted",
    "plan --model model --json",
];
/// What is run on a file of `eval`.
const ON_DATA: &[&str] = &["eval --model model --data {} --volumes . --out out.json --max-new-tokens 2 --json"];
const ON_ANSWERS: &[&str] =
    &["eval --model model --data bare.json --answers {} --volumes . --out out.json --max-new-tokens 2 --json"];
const ON_RESULTS: &[&str] =
    &["eval --model model --data data.json --volumes . --out out.json --max-new-tokens 2 --json"];

/// A damaged input is used or refused.
const READ_OR_REFUSED: &[i32] = &[0, 3];
/// Damaged numbers may also show only while running.
const WEIGHTS: &[i32] = &[0, 1, 3];
/// A file that holds no results at all is a wrong --out.
const RESULTS: &[i32] = &[0, 2, 3];

/// The smallest of the golden models.
const MODEL: &str = "c_score15";

/// The files of a golden model below `model/`, and its volume.
fn golden(name: &str) -> Vec<(String, Content)> {
    let goldens = Goldens::open();
    let files = goldens.model_files(name).into_iter().map(|(place, path)| (format!("model/{place}"), path));
    files.chain([("volume.npy".to_owned(), goldens.volume_path(name))]).map(|(p, c)| (p, Content::LinkTo(c))).collect()
}

/// The content of a golden model's file.
fn golden_file(name: &str, file: &str) -> Vec<u8> {
    let files = Goldens::open().model_files(name);
    let (_, path) = files.iter().find(|(place, _)| place == file).unwrap_or_else(|| panic!("{name} has no {file}"));
    std::fs::read(path).expect("committed")
}

fn seeds(name: &str) -> Vec<Seed> {
    let Target { seeds, .. } = target(name);
    seeds()
}

/// A kind of volumes.
fn volumes(name: &'static str, places: Vec<Place>, sound: Vec<(String, Content)>) -> Kind {
    let sound = golden(MODEL).into_iter().chain(sound).collect();
    Kind { name, statuses: READ_OR_REFUSED, places, sound, outputs: &["out.npy"] }
}

fn file(path: &str, seeds: Vec<Seed>) -> Place {
    Place { path: path.to_owned(), seeds, commands: ON_FILE }
}

pub fn npy() -> Kind {
    volumes("npy", vec![file("scan.npy", seeds("npy"))], Vec::new())
}

/// Single files, packed or not, as their names must say, and pairs.
pub fn nifti() -> Kind {
    let (packed, plain): (Vec<Seed>, Vec<Seed>) =
        seeds("nifti").into_iter().partition(|seed| seed.file().starts_with(b"\x1f\x8b"));
    let pair = seeds("nifti_pair").remove(0).bytes;
    let (header, voxels) = pair.split_at(pair.len() - 48);
    let halves = [("scan.hdr", header), ("scan.img", voxels)];
    let sound = halves.map(|(name, half)| (name.to_owned(), Content::Bytes(half.to_vec())));
    let half = |(name, half): (&str, &[u8])| file(name, vec![Seed::whole(half.to_vec())]);
    let places = [file("plain.nii", plain), file("packed.nii.gz", packed)].into_iter().chain(halves.map(half));
    volumes("nifti", places.collect(), sound.into())
}

/// The second of three slices.
pub fn dicom() -> Kind {
    let place = Place { path: "scan/2.dcm".to_owned(), seeds: seeds("dicom"), commands: ON_FOLDER };
    let slice = |number: u16| (format!("scan/{number}.dcm"), Content::Bytes(engine_tests::fuzz::dicom_slice(number)));
    volumes("dicom", vec![place], [slice(1), slice(3)].into())
}

/// Single files of every codec.
pub fn codecs() -> Kind {
    volumes("codecs", vec![file("scan.dcm", seeds("dicom_codecs"))], Vec::new())
}

/// The second of three slices.
pub fn images() -> Kind {
    let seeds = seeds("images");
    let slice = |number: usize| (format!("scan/{number}.png"), Content::Bytes(seeds[0].file()));
    let sound = [slice(0), slice(2)].into();
    volumes("images", vec![Place { path: "scan/1.png".to_owned(), seeds, commands: ON_FOLDER }], sound)
}

/// A kind of models: a golden one with these files mutated.
fn model(name: &'static str, golden_name: &str, files: &[(&str, Seeds)]) -> Kind {
    let place = |(file, seeds): &(&str, Seeds)| Place {
        path: format!("model/{file}"),
        seeds: seeds(golden_file(golden_name, file)),
        commands: ON_MODEL,
    };
    let places = files.iter().map(place).collect();
    Kind { name, statuses: WEIGHTS, places, sound: golden(golden_name), outputs: &["converted"] }
}

fn whole(bytes: Vec<u8>) -> Vec<Seed> {
    vec![Seed::whole(bytes)]
}

/// A file of tensors, mutated anywhere and in its header alone.
fn tensors(bytes: Vec<u8>) -> Vec<Seed> {
    vec![Seed::whole(bytes.clone()), with_header(&bytes)]
}

fn pickled(bytes: Vec<u8>) -> Vec<Seed> {
    vec![Seed::whole(bytes.clone()), with_pickle(&bytes)]
}

pub fn torch() -> Kind {
    let files = ["vision3d_connector/pytorch_model.bin", "llm/pytorch_model.bin", "vision2d_model/pytorch_model.bin"];
    model("torch", "a_score15", &files.map(|file| (file, pickled as Seeds)))
}

/// Shards, their index, and a whole file.
pub fn safetensors() -> Kind {
    let files: [(&str, Seeds); 4] = [
        ("llm/model-00001-of-00002.safetensors", tensors),
        ("llm/model.safetensors.index.json", whole),
        ("vision2d_connector/model.safetensors", tensors),
        ("vision2d_model/model.safetensors", tensors),
    ];
    model("safetensors", "b_score15", &files)
}

/// Every configuration.
pub fn config() -> Kind {
    let files = ["args/config.json", "llm/config.json", "vision2d_model/config.json", "vision3d_model/config.json"];
    model("config", MODEL, &files.map(|file| (file, whole as Seeds)))
}

/// Every tokenizer of the language model and of the text encoder.
pub fn tokenizer() -> Kind {
    let files = ["tokenizer.json", "tokenizer_config.json", "vision3d_model/vocab.txt"];
    let mut kind = model("tokenizer", MODEL, &files.map(|file| (file, whole as Seeds)));
    // In a model of its own, because the other kind of tokenizer is taken where both are.
    let beside = kind.sound.iter().filter_map(|(path, content)| match content {
        Content::LinkTo(target) if path.starts_with("model/") && path != "model/tokenizer.json" => {
            Some((path.replacen("model/", "pieces/", 1), Content::LinkTo(target.clone())))
        }
        _ => None,
    });
    let beside: Vec<_> = beside.collect();
    kind.sound.extend(beside);
    kind.places.push(Place {
        path: "pieces/tokenizer.model".to_owned(),
        seeds: seeds("tokenizer_model"),
        commands: &["generate --model pieces --volume volume.npy --prompt Where? --max-new-tokens 3 --json"],
    });
    kind
}

/// Data, answers, results and journals; what is sound of the last two, a run of the program writes.
pub fn eval() -> Kind {
    let data = br#"[{"id": "0", "vision3d": ["volume.npy"], "question": "Which plane?", "answer": "axial"},
        {"id": "1", "vision3d": ["volume.npy"], "question": "Where?", "answer": "left", "question_type": 5,
        "truth": {"lesion": "cyst", "side": "left", "slices": [1, 2]}}]"#;
    let bare = br#"[{"id": "0", "vision3d": ["volume.npy"], "question": "Which plane?"}]"#;
    let answers = br#"[{"id": "0", "question_type": 1, "answer": "Axial"}]"#;
    let rows = "Image Path,Text,Question Type,Question,Choice A,Choice B,Choice C,Choice D,Answer,Answer Choice\n\
        volume.npy,\"A report, with a comma.\",1,Which plane is this?,Axial,Coronal,Sagittal,NA,Axial,A\n";
    let captions = br#"{"train": [], "test": [{"image": "volume.npy", "text": "report.txt"}]}"#;
    let written = [("data.json", data.as_slice()), ("bare.json", bare), ("report.txt", b"There is a nodule.\n")];
    let written = written.map(|(name, bytes)| (name.to_owned(), Content::Bytes(bytes.to_vec())));
    let sound: Vec<_> = golden(MODEL).into_iter().chain(written).collect();
    let finished = finished_run(&sound);
    let journal = journal_of(&finished);
    let place = |path: &str, bytes: &[u8], commands: &'static [&'static str]| Place {
        path: path.to_owned(),
        seeds: vec![Seed::whole(bytes.to_vec())],
        commands,
    };
    let places = vec![
        place("items.json", data, ON_DATA),
        place("rows.csv", rows.as_bytes(), ON_DATA),
        place("captions.json", captions, ON_DATA),
        place("answers.json", answers, ON_ANSWERS),
        place("out.json", &finished, ON_RESULTS),
        place("out.json.partial", &journal, ON_RESULTS),
    ];
    Kind { name: "eval", statuses: RESULTS, places, sound, outputs: &["out.json", "out.json.partial"] }
}

/// The file of results of a run that was not disturbed.
fn finished_run(sound: &[(String, Content)]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    sound.iter().for_each(|(path, content)| put(&folder.path().join(path), content));
    let line: Vec<String> = ON_RESULTS[0].split_whitespace().map(str::to_owned).collect();
    let ended = program::run(folder.path(), &line);
    assert_eq!(ended.status, Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
    std::fs::read(folder.path().join("out.json")).expect("it was written")
}

/// The journal that a run had written just before its file of results, but for the last answer.
fn journal_of(finished: &[u8]) -> Vec<u8> {
    let mut results: serde_json::Value = serde_json::from_slice(finished).expect("JSON");
    let fields = results.as_object_mut().expect("an object");
    fields.remove("tables");
    let samples = fields.remove("samples").expect("samples");
    format!("{results}\n{}\n", samples[0]).into_bytes()
}
