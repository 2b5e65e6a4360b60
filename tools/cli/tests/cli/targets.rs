//! What `--force` may replace: regular files that are no input, and nothing else.

use std::io::Read;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{command, contents, fail, small_volume, succeed, text, tiny_model};

/// A folder with a copy of the tiny model, a scan, and three slices as PNG.
struct Given {
    folder: tempfile::TempDir,
    scan: PathBuf,
}

impl Given {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let scan = small_volume(folder.path());
        let copied = Command::new("cp").args(["-r", tiny_model(), text(&folder.path().join("m"))]).status().unwrap();
        assert!(copied.success());
        std::fs::create_dir(folder.path().join("slices")).unwrap();
        for slice in 0..3 {
            let picture = image::GrayImage::from_fn(8, 8, |x, y| image::Luma([(x * y + slice) as u8 * 3]));
            picture.save(folder.path().join(format!("slices/{slice}.png"))).unwrap();
        }
        Self { folder, scan }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The sentence of a command that is refused as wrong usage with nothing changed.
    fn refused(&self, line: &[&str]) -> String {
        let before = contents(self.folder.path());
        let said = fail(line, 2);
        assert!(contents(self.folder.path()) == before, "a file changed, appeared or went: {line:?}");
        said
    }
}

#[test]
fn no_input_is_replaced_whatever_it_is_called() {
    let given = Given::new();
    let model = given.path("m");
    let scan = given.scan.clone();
    let at = |name: &str| given.path(name);
    std::fs::hard_link(&scan, at("hard.npy")).unwrap();
    std::fs::hard_link(at("m/llm/model.safetensors"), at("hard.safetensors")).unwrap();
    std::fs::hard_link(at("slices/1.png"), at("hard.png")).unwrap();
    symlink(at("m"), at("link")).unwrap();
    // A hub's cache: the model's folder holds links, the bytes lie elsewhere.
    std::fs::rename(at("m/tokenizer.json"), at("blob")).unwrap();
    symlink(at("blob"), at("m/tokenizer.json")).unwrap();
    let generate = ["generate", "--model", text(&model), "--volume", text(&scan), "--prompt", "p", "--force"];
    for (flag, target) in [
        ("--trace", "m/llm/model.safetensors"),
        ("--trace", "m/llm/../llm/model.safetensors"),
        ("--trace", "link/llm/model.safetensors"),
        ("--trace", "hard.safetensors"),
        ("--scores", "m/tokenizer.json"),
        ("--scores", "blob"),
        ("--montage", "m/new.png"),
        ("--montage", "volume.npy"),
        ("--montage", "hard.npy"),
    ] {
        let said = given.refused(&[&generate[..], &[flag, text(&at(target))]].concat());
        assert!(said.contains("never changed") && said.contains(target), "{target}: {said}");
    }
    let slices = at("slices");
    for target in ["slices/1.png", "slices/new.npy", "hard.png", "slices/../slices/0.png"] {
        let said = given.refused(&["preprocess", "--volume", text(&slices), "--out", text(&at(target)), "--force"]);
        assert!(said.contains("never changed"), "{target}: {said}");
    }
    let inside = at("slices/montage.png");
    given.refused(&["inspect", "--volume", text(&slices), "--montage", text(&inside), "--force"]);
    for out in ["m/inside", "link/inside", "m/llm/inside"] {
        let said = given.refused(&["convert", "--model", text(&model), "--out", text(&at(out))]);
        assert!(said.contains("never changed"), "{said}");
    }
    // By a relative name, from inside.
    let run =
        command(&["preprocess", "--volume", "../slices", "--out", "1.png", "--force"]).current_dir(&slices).output();
    assert_eq!(run.unwrap().status.code(), Some(2));
}

/// The header's name stands for both files of a pair.
#[test]
fn both_halves_of_a_pair_are_the_input() {
    let given = Given::new();
    let whole = given.path("scan.nii.gz");
    succeed(&["phantom", "--seed", "1", "--size", "16,32,32", "--out", text(&whole)]);
    let header = given.path("scan.hdr");
    let voxels = given.path("scan.img");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(std::fs::File::open(whole).unwrap()).read_to_end(&mut bytes).unwrap();
    std::fs::write(&voxels, &bytes[352..]).unwrap();
    // vox_offset and magic of NIfTI-1.
    bytes[108..112].fill(0);
    bytes[344..348].copy_from_slice(b"ni1\0");
    std::fs::write(&header, &bytes[..348]).unwrap();
    succeed(&["inspect", "--volume", text(&header)]);
    let said = given.refused(&["preprocess", "--volume", text(&header), "--out", text(&voxels), "--force"]);
    assert!(said.contains("never changed"), "{said}");
}

/// Every command that writes a file, up to the name of it.
fn writers(given: &Given) -> Vec<Vec<String>> {
    let scan = text(&given.scan).to_owned();
    let volumes = text(given.folder.path()).to_owned();
    let data = given.path("data.json");
    let turns = serde_json::json!([{"from": "human", "value": "Is it?"}]);
    let item = serde_json::json!([{"id": "0", "vision3d": ["volume.npy"], "answer": "no", "conversations": turns}]);
    std::fs::write(&data, item.to_string()).unwrap();
    let lines = [
        format!("preprocess --volume {scan} --force --out"),
        "generate --demo --force --scores".to_owned(),
        "generate --demo --force --trace".to_owned(),
        format!("inspect --volume {scan} --force --montage"),
        format!("phantom --seed 1 --force --out {volumes}/new.npy --truth"),
        format!("eval --model {} --data {} --volumes {volumes} --out", tiny_model(), text(&data)),
    ];
    lines.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn only_regular_files_are_replaced() {
    let given = Given::new();
    let writers = writers(&given);
    let at = |name: &str| given.path(name);
    std::fs::write(at("file"), "precious").unwrap();
    symlink(at("file"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let mut special = vec!["link", "dangling", "socket", "pipe", "slices"];
    // Only the superuser makes devices.
    let made = Command::new("mknod").arg(at("null")).args(["c", "1", "3"]).output().unwrap().status.success();
    if made {
        special.push("null");
    } else {
        println!("not run: mknod needs the superuser, so no device was tried");
    }
    let kinds = || -> Vec<_> {
        let kind = |name: &&str| std::fs::symlink_metadata(at(name)).unwrap().file_type();
        special.iter().map(kind).map(|k| (k.is_symlink(), k.is_socket(), k.is_fifo(), k.is_char_device())).collect()
    };
    let before = kinds();
    for line in &writers {
        for name in &special {
            let target = at(name);
            let mut line = line.clone();
            line.push(text(&target).to_owned());
            let said = fail(&line, 2);
            assert!(said.contains(*name) && !said.contains("--force"), "{line:?}: {said}");
        }
    }
    assert!(kinds() == before, "a link, pipe, socket or device was replaced");
    assert_eq!(std::fs::read(at("file")).unwrap(), b"precious");
    assert!(!at("nowhere").exists() && !at("new.npy").exists());
    let said = fail(&["preprocess", "--volume", text(&given.scan), "--out", "/dev/stdout"], 2);
    assert!(!said.contains("--force"), "{said}");
    for line in &writers[..1] {
        succeed(&[&line[..], &[text(&at("file")).to_owned()]].concat());
        assert_ne!(std::fs::read(at("file")).unwrap(), b"precious", "a regular file is what --force is for");
    }
}

#[test]
fn a_folder_is_made_only_where_one_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("empty")).unwrap();
    symlink(at("empty"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    for name in ["link", "dangling", "file", "file/below", "none/below"] {
        fail(&["make-model", "--preset", "tiny", "--out", text(&at(name))], 2);
        fail(&["convert", "--model", tiny_model(), "--out", text(&at(name))], 2);
        fail(&["phantom", "--seed", "1", "--count", "2", "--size", "16,32,32", "--out", text(&at(name))], 2);
    }
    let here = command(&["make-model", "--preset", "tiny", "--out", "."]).current_dir(at("empty")).output().unwrap();
    assert_eq!(here.status.code(), Some(2));
    succeed(&["make-model", "--preset", "tiny", "--out", &format!("{}/.", text(&at("empty")))]);
    assert!(at("empty/llm").is_dir());
}

/// The journal of `eval` stands beside its results: a file there that is none is not appended to, cut or emptied.
#[test]
fn what_is_no_journal_is_kept() {
    let given = Given::new();
    let data = writers(&given).pop().unwrap();
    let with = |out: &Path, more: &[&str]| -> Vec<String> {
        let more = [&[text(out)], more].concat();
        data.iter().cloned().chain(more.into_iter().map(str::to_owned)).collect()
    };
    let out = given.path("out.json");
    let journal = given.path("out.json.partial");
    for content in ["my notes, without an end of line", "{\"mine\": 1}\n"] {
        std::fs::write(&journal, content).unwrap();
        for more in [&[][..], &["--restart"]] {
            assert!(fail(&with(&out, more), 2).contains("out.json.partial"));
            assert_eq!(std::fs::read_to_string(&journal).unwrap(), content);
        }
    }
    // What the power left of a first line.
    std::fs::write(&journal, "{\"for").unwrap();
    succeed(&with(&out, &["--max-new-tokens", "1"]));
    assert!(out.exists() && !journal.exists());
    for (from, to) in [("data.json", "q.json.partial"), ("volume.npy", "v.json.partial")] {
        std::fs::rename(given.path(from), given.path(to)).unwrap();
        let before = contents(given.folder.path());
        let line: Vec<String> = with(&given.path(to.strip_suffix(".partial").unwrap()), &[]);
        let line: Vec<String> = line.iter().map(|word| word.replace("data.json", "q.json.partial")).collect();
        assert_eq!(crate::run(&line).status, Some(if from == "data.json" { 2 } else { 3 }));
        assert!(contents(given.folder.path()) == before);
    }
}
