//! The three weight file formats: what they hold is read exactly, and damage is an error, never a panic.

use std::fs;
use std::path::Path;

use med2e3_loaders::tensor::{Data, Entry};
use med2e3_loaders::volume::{self, VolumeOptions};
use med2e3_loaders::{
    Checkpoint, DType, Declared, Error, LlmTokenizer, Result, SafetensorsWriter, safetensors, torch_zip,
};

const SAMPLE: &[u8] = include_bytes!("data/sample.bin");

/// A folder with `bytes` as its only file.
fn folder(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(name), bytes).unwrap();
    dir
}

fn floats(checkpoint: &Checkpoint, name: &str) -> (Vec<usize>, Vec<f32>) {
    let tensor = checkpoint.get(name).unwrap_or_else(|| panic!("{name}"));
    (tensor.shape.clone(), tensor.to_f32())
}

fn range(values: std::ops::Range<i32>) -> Vec<f32> {
    values.map(|value| value as f32).collect()
}

/// `data/make_torch_samples.py` says what is in it.
#[test]
fn a_file_of_torch_save_is_read_exactly() {
    let dir = folder("pytorch_model.bin", SAMPLE);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let dtype = |name: &str| checkpoint.get(name).unwrap().dtype;
    assert_eq!((dtype("f32"), dtype("f16"), dtype("bf16")), (DType::F32, DType::F16, DType::Bf16));
    assert_eq!(floats(&checkpoint, "f32"), (vec![4, 6], range(0..24)));
    assert_eq!(floats(&checkpoint, "f16"), (vec![2, 3, 4], range(-12..12)));
    assert_eq!(floats(&checkpoint, "bf16"), (vec![24], (0..24).map(|i| 2.0 * i as f32).collect()));
    assert_eq!(floats(&checkpoint, "scalar"), (vec![], vec![3.5]));
    assert_eq!(floats(&checkpoint, "empty"), (vec![0, 5], vec![]));
    let transposed = (0..24).map(|i| ((i % 4) * 6 + i / 4) as f32).collect();
    assert_eq!(floats(&checkpoint, "transposed"), (vec![6, 4], transposed));
    assert_eq!(floats(&checkpoint, "shared.head"), (vec![10], range(0..10)));
    assert_eq!(floats(&checkpoint, "shared.tail"), (vec![2, 7], range(10..24)));
    let columns = vec![1.0, 2.0, 7.0, 8.0, 13.0, 14.0, 19.0, 20.0];
    assert_eq!(floats(&checkpoint, "shared.columns"), (vec![4, 2], columns));
    assert_eq!(floats(&checkpoint, "parameter"), (vec![2], vec![1.0, -2.0]));
    assert_eq!(floats(&checkpoint, "layer.weight"), (vec![2, 2], vec![7.0; 4]), "LoRA's .base_layer is stripped");
    assert_eq!(checkpoint.ignored(), [("position_ids".to_string(), "LongStorage".to_string())]);
    assert_eq!(checkpoint.names().count(), 11);
}

/// `data/make_pickle_samples.py` says how they differ from `sample.bin`: not in any tensor.
#[test]
fn the_same_tensors_are_read_from_every_pickle_that_torch_writes() {
    let table = |bytes: &[u8]| {
        let dir = folder("pytorch_model.bin", bytes);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let tensors = checkpoint
            .iter()
            .map(|(name, tensor)| (name.to_owned(), tensor.dtype, tensor.shape.clone(), tensor.to_f32()));
        (tensors.collect::<Vec<_>>(), checkpoint.ignored().to_vec())
    };
    let wanted = table(SAMPLE);
    assert_eq!(wanted.0.len(), 11);
    assert_eq!(table(include_bytes!("data/protocol_3.bin")), wanted, "protocol 3");
    assert_eq!(table(include_bytes!("data/protocol_4.bin")), wanted, "protocol 4");
    assert_eq!(table(include_bytes!("data/protocol_5.bin")), wanted, "protocol 5");
    assert_eq!(table(include_bytes!("data/first_torch.bin")), wanted, "the call of before 0.4");
    assert_eq!(table(include_bytes!("data/wrapped.bin")), wanted, "one level down, beside a counter");
    let nested = table(include_bytes!("data/nested.bin")).0;
    assert_eq!(nested, [("f32".to_owned(), DType::F32, vec![2], vec![1.0, 1.0])]);
}

#[test]
fn only_tensors_stored_in_another_order_are_copied() {
    let entries = torch_zip::read_table(Path::new("sample.bin"), SAMPLE).unwrap();
    let gathered = entries.iter().filter(|entry| matches!(entry.data, Data::Gathered(_)));
    let names: Vec<&str> = gathered.map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["transposed", "shared.columns"]);
}

#[test]
fn a_modules_state_dict_with_its_metadata_is_read() {
    let dir = folder("pytorch_model.bin", include_bytes!("data/state_dict.bin"));
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(floats(&checkpoint, "inner.weight"), (vec![2, 3], range(0..6)));
    assert_eq!(floats(&checkpoint, "inner.bias"), (vec![2], vec![10.0, 20.0]));
}

#[test]
fn torch_files_that_we_do_not_read_say_why() {
    let cases: [(&str, &[u8], &str); 5] = [
        (
            "two_models",
            include_bytes!("data/two_models.bin"),
            "several dictionaries of tensors, \"model\" and \"ema\" among them",
        ),
        ("legacy", include_bytes!("data/legacy.bin"), "is in torch.save's format of before version 1.6"),
        ("expanded", include_bytes!("data/expanded.bin"), "reaches beyond its storage of 1 elements"),
        ("global", include_bytes!("data/global.bin"), "asks for __builtin__.print, which is not needed"),
        ("text", b"not a zip at all", "is not a complete zip archive"),
    ];
    for (name, bytes, want) in cases {
        let error = torch_zip::read_table(Path::new(name), bytes).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains(want), "{error}");
    }
}

/// A file with three small tensors, one of each type.
fn small_safetensors() -> (Vec<u8>, Vec<Declared>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    let declared = [("a.f32", DType::F32, vec![2, 2]), ("b.f16", DType::F16, vec![3]), ("c.bf16", DType::Bf16, vec![])];
    let declared = declared.map(|(name, dtype, shape)| Declared { name: name.into(), dtype, shape });
    let mut writer = SafetensorsWriter::create(&path, &declared).unwrap();
    writer.write("a.f32", &[1.0f32, 2.0].map(f32::to_le_bytes).concat()).unwrap();
    writer.write("a.f32", &[3.0f32, 4.0].map(f32::to_le_bytes).concat()).unwrap();
    writer.write("b.f16", &[1.0, 2.0, 3.0].map(|v| half::f16::from_f32(v).to_le_bytes()).concat()).unwrap();
    writer.write("c.bf16", &half::bf16::from_f32(-1.0).to_le_bytes()).unwrap();
    writer.finish().unwrap();
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["model.safetensors"], "no temporary file is left");
    (fs::read(&path).unwrap(), declared.to_vec())
}

#[test]
fn what_the_writer_writes_is_read_back_and_aligned() {
    let (bytes, declared) = small_safetensors();
    let dir = folder("model.safetensors", &bytes);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    for tensor in &declared {
        let read = checkpoint.get(&tensor.name).unwrap();
        assert_eq!((read.dtype, &read.shape), (tensor.dtype, &tensor.shape));
    }
    assert_eq!(checkpoint.get("a.f32").unwrap().to_f32(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(checkpoint.get("b.f16").unwrap().to_f32(), [1.0, 2.0, 3.0]);
    assert_eq!(checkpoint.get("c.bf16").unwrap().to_f32(), [-1.0]);
    assert_eq!(checkpoint.total_bytes(), 16 + 6 + 2);
    let (owner, range) = checkpoint.get("a.f32").unwrap().owner();
    assert_eq!(range.start % 64, 0);
    assert_eq!(&(*owner).as_ref()[range], checkpoint.get("a.f32").unwrap().bytes());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let declared = [Declared { name: "a".into(), dtype: DType::F32, shape: vec![2] }];
    drop(SafetensorsWriter::create(&dir.path().join("x.safetensors"), &declared).unwrap());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0; data]);
    bytes
}

#[test]
fn safetensors_that_promise_what_they_lack_are_refused() {
    let huge = (0..8).map(|i: u64| {
        let size = (1u64 << 61) - 1;
        format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{},{}]}}"#, i * size, (i + 1) * size)
    });
    let huge = format!("{{{}}}", huge.collect::<Vec<_>>().join(","));
    let tensor =
        |shape: &str, end: usize| format!(r#"{{"t":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    let cases = [
        (vec![1, 2, 3], "has 3 bytes, but a safetensors header alone needs 8"),
        (u64::MAX.to_le_bytes().to_vec(), "promises a header of 18446744073709551615 bytes, but 0 bytes follow"),
        (with_header("{", 0), "its safetensors header cannot be read"),
        (with_header(&tensor("[2]", 8), 4), "promises 8 bytes of tensors, but holds 4"),
        (with_header(&tensor("[2]", 8), 12), "promises 8 bytes of tensors, but holds 12"),
        (with_header(&tensor("[3]", 8), 8), "cannot be read"),
        (with_header(&tensor("[4611686018427387904,4]", 8), 8), "cannot be read"),
        // The ends add up to 2^64 - 8, and with the header's length to less than nothing.
        (with_header(&huge, 0), "bytes of tensors, but holds 0"),
    ];
    for (bytes, want) in cases {
        let error = safetensors::read_header(Path::new("x"), &bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn shards_are_found_through_their_index() {
    let (bytes, _) = small_safetensors();
    let header = r#"{"d":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
        "ids":{"dtype":"I64","shape":[0],"data_offsets":[4,4]}}"#;
    let other = with_header(header, 4);
    let dir = folder("model-00001-of-00002.safetensors", &bytes);
    fs::write(dir.path().join("model-00002-of-00002.safetensors"), other).unwrap();
    let index = |entries: &str| {
        let text = format!(r#"{{"metadata":{{"total_size":28}},"weight_map":{{{entries}}}}}"#);
        fs::write(dir.path().join("model.safetensors.index.json"), text).unwrap();
        Checkpoint::open(dir.path())
    };
    let one = "model-00001-of-00002.safetensors";
    let two = "model-00002-of-00002.safetensors";
    let whole = format!(r#""a.f32":"{one}","b.f16":"{one}","c.bf16":"{one}","d":"{two}","ids":"{two}""#);
    let checkpoint = index(&whole).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a.f32", "b.f16", "c.bf16", "d"]);
    assert_eq!(checkpoint.ignored().len(), 1);

    let refused = [
        (r#""a":"../model.safetensors""#.to_string(), "which is not a file of its own folder"),
        (r#""a":"/etc/passwd""#.to_string(), "which is not a file of its own folder"),
        (r#""a":"sub/x.safetensors""#.to_string(), "which is not a file of its own folder"),
        (r#""a":"..""#.to_string(), "which is not a file of its own folder"),
        (r#""a":"""#.to_string(), "which is not a file of its own folder"),
        (r#""a":"absent.safetensors""#.to_string(), "cannot open"),
        (
            format!(r#""e":"{two}""#),
            "puts tensor \"e\" in \"model-00002-of-00002.safetensors\", which does not hold it",
        ),
    ];
    for (entries, want) in refused {
        let error = index(&entries).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    fs::copy(dir.path().join(two), dir.path().join("copy.safetensors")).unwrap();
    let error = index(&format!(r#""d":"{two}","ids":"copy.safetensors""#)).unwrap_err().to_string();
    assert!(error.contains("holds tensor \"d\", which was already found"), "{error}");
}

#[test]
fn shards_of_torch_save_are_found_through_their_index() {
    let one = "pytorch_model-00001-of-00002.bin";
    let two = "pytorch_model-00002-of-00002.bin";
    let dir = folder(one, SAMPLE);
    fs::write(dir.path().join(two), include_bytes!("data/state_dict.bin")).unwrap();
    let index = |entries: &str| {
        let text = format!(r#"{{"metadata":{{"total_size":28}},"weight_map":{{{entries}}}}}"#);
        fs::write(dir.path().join("pytorch_model.bin.index.json"), text).unwrap();
        Checkpoint::open(dir.path())
    };
    let checkpoint = index(&format!(r#""f32":"{one}","inner.weight":"{two}""#)).unwrap();
    assert_eq!(floats(&checkpoint, "f32"), (vec![4, 6], range(0..24)));
    assert_eq!(floats(&checkpoint, "inner.weight"), (vec![2, 3], range(0..6)));
    assert_eq!(checkpoint.names().count(), 11 + 2);

    let error = index(&format!(r#""f32":"{one}","inner.weight":"{one}""#)).unwrap_err().to_string();
    assert!(error.contains("puts tensor \"inner.weight\" in"), "{error}");
    let error = index(r#""f32":"../outside.bin""#).unwrap_err().to_string();
    assert!(error.contains("which is not a file of its own folder"), "{error}");
}

#[test]
fn a_pointer_of_git_lfs_is_called_one() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7642\n";
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let dir = folder(name, pointer.as_bytes());
        let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is a pointer of git-lfs") && error.contains("`git lfs pull`"), "{error}");
    }
    let dir = folder("tokenizer.model", pointer.as_bytes());
    let Err(error) = LlmTokenizer::open(dir.path()) else { panic!("a pointer is no tokenizer") };
    assert!(error.to_string().contains("tokenizer.model: is a pointer of git-lfs"), "{error}");
    let path = dir.path().join("scan.nii.gz");
    fs::write(&path, pointer).unwrap();
    let Err(error) = volume::read_volume(&path, &VolumeOptions::default()) else { panic!("a pointer is no scan") };
    assert!(error.to_string().contains("scan.nii.gz: is a pointer of git-lfs"), "{error}");
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(dir.path()).unwrap_err().to_string();
    let wanted = "neither model.safetensors.index.json, model.safetensors, pytorch_model.bin nor \
                  pytorch_model.bin.index.json";
    assert!(error.contains(wanted), "{error}");
    assert!(matches!(Checkpoint::open(dir.path()), Err(Error::BadInput { .. })));
}

/// Every truncation is an error; every bit flip is an error or a table whose ranges lie in the file and hold exactly
/// their shapes.
fn survives_damage(whole: &[u8], read: fn(&Path, &[u8]) -> Result<Vec<Entry>>) {
    let path = Path::new("damaged");
    for len in 0..whole.len() {
        assert!(read(path, &whole[..len]).is_err(), "cut to {len} bytes of {}", whole.len());
    }
    let mut refused = 0;
    let mut accepted = 0;
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(entries) = read(path, &bytes) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        for entry in entries {
            let Ok(dtype) = entry.dtype else { continue };
            let held = match entry.data {
                Data::InFile(range) => bytes[range].len(),
                Data::Gathered(gathered) => gathered.len(),
            };
            assert_eq!(dtype.bytes_of(&entry.shape), Some(held), "bit {bit}: {}", entry.name);
        }
    }
    // Both must happen: names, values and padding may change freely, sizes and signatures may not.
    assert!(refused > whole.len() && accepted > whole.len() / 8, "{refused} refused, {accepted} accepted");
}

#[test]
fn damaged_safetensors_never_panic() {
    survives_damage(&small_safetensors().0, safetensors::read_header);
}

#[test]
fn damaged_torch_files_never_panic() {
    survives_damage(SAMPLE, torch_zip::read_table);
    survives_damage(include_bytes!("data/state_dict.bin"), torch_zip::read_table);
}
