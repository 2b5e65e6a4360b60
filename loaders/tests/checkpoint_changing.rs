//! Files that another process changes while they are read: what is text stays text.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use med2e3_loaders::{mmap, torch_zip};

/// Tensors, all of one storage: reading their names takes milliseconds.
const TENSORS: usize = 20_000;

/// A file of `torch.save` with [`TENSORS`] names that end in `n`.
fn torch_file() -> Vec<u8> {
    let text = |text: &str| [b"X".as_slice(), &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
    let storage = [b"(".as_slice(), &text("storage"), b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x06tQ"];
    let hooks = b"\x89ccollections\nOrderedDict\n)Rt";
    let tensor =
        [b"ctorch._utils\n_rebuild_tensor_v2\n(".as_slice(), &storage.concat(), b"K\x00K\x06\x85K\x01\x85", hooks];
    let tensor = [tensor.concat().as_slice(), b"Rq\x05"].concat();
    let items: Vec<u8> = (0..TENSORS).flat_map(|i| [text(&format!("{i:08}n")), b"h\x05".to_vec()].concat()).collect();
    let pickle = [b"\x80\x02".as_slice(), &tensor, b"}(", &items, b"u."].concat();
    let mut archive = rawzip::ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in [("a/data.pkl", pickle.as_slice()), ("a/data/0", &[0; 24])] {
        let (mut entry, config) = archive.new_file(name).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(bytes).unwrap();
        let (_, descriptor) = writer.finish().unwrap();
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

/// Rewrites one byte of `path` at `place`, over and over, until `done`.
fn flip(path: &Path, place: u64, done: &AtomicBool) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    while !done.load(Ordering::Relaxed) {
        file.write_all_at(&[0xff], place).unwrap();
        file.write_all_at(b"n", place).unwrap();
    }
}

/// A name whose bytes stop being UTF-8 between the check and the copy would be text that Rust says cannot be.
#[test]
fn names_are_checked_and_kept_from_one_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pytorch_model.bin");
    let bytes = torch_file();
    std::fs::write(&path, &bytes).unwrap();
    let last = format!("{:08}n", TENSORS - 1);
    let place = bytes.windows(last.len()).position(|window| window == last.as_bytes()).unwrap() + last.len() - 1;
    let done = AtomicBool::new(false);
    let map = mmap::map(&path).unwrap();
    let mut names = std::thread::scope(|scope| {
        scope.spawn(|| flip(&path, place as u64, &done));
        let until = Instant::now() + Duration::from_secs(1);
        let mut names = Vec::new();
        while Instant::now() < until {
            // Either state of the file, and nothing between: one is refused by the checksum.
            let entries = torch_zip::read_table(&path, &map);
            names.extend(entries.map(|entries| entries[TENSORS - 1].name.clone().into_bytes()));
        }
        done.store(true, Ordering::Relaxed);
        names
    });
    assert!(!names.is_empty(), "the file was never read whole");
    names.retain(|name| name != last.as_bytes());
    assert_eq!(names, [[0; 0]; 0], "names that are no text");
}
