//! Whole model folders: opened, checked, converted.

mod checkpoint_tiny;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use checkpoint_tiny::{config, write};
use med2e3_loaders::{CheckOptions, Checkpoint, DType, Declared, Error, ModelFolder, Part, SafetensorsWriter, convert};
use serde_json::json;

fn all(_: Part, _: &str) -> bool {
    false
}

fn tiny() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::F32, all);
    dir
}

fn check(root: &Path, options: CheckOptions) -> Result<(), String> {
    ModelFolder::open(root).unwrap().check(options).map(|_| ()).map_err(|error| error.to_string())
}

/// A folder that is not there is the system's refusal; a file in its place is a mistake about what to give.
#[test]
fn a_folder_that_is_not_there_is_no_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    for result in
        [ModelFolder::open(&absent).map(drop), convert(&absent, &dir.path().join("out"), None, &mut |_, _| ())]
    {
        let error = result.unwrap_err();
        let Error::Io { path, doing: "open", source } = &error else { panic!("{error:?}") };
        assert_eq!((path, source.kind()), (&absent, std::io::ErrorKind::NotFound));
    }
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = ModelFolder::open(&file).unwrap_err();
    assert!(matches!(&error, Error::BadInput { finding, .. } if finding == "is not a folder"), "{error:?}");
}

#[test]
fn a_complete_folder_opens_and_passes() {
    let dir = tiny();
    let model = ModelFolder::open(dir.path()).unwrap();
    model.check(CheckOptions::default()).unwrap();
    assert_eq!(model.warnings, Vec::<String>::new());
    assert_eq!(model.config.bert.num_hidden_layers, 1);
    assert_eq!(model.llm.get("model.norm.weight").unwrap().shape, [8]);
}

#[test]
fn the_text_encoders_sizes_come_from_its_weights() {
    let dir = tiny();
    let path = dir.path().join("args/config.json");
    let mut args = config();
    args["vision3d_model_config"]["language_model_config"] = json!({ "num_attention_heads": 2 });
    fs::write(&path, args.to_string()).unwrap();
    let model = ModelFolder::open(dir.path()).unwrap();
    model.check(CheckOptions::default()).unwrap();
    let bert = &model.config.bert;
    assert_eq!((bert.hidden_size, bert.num_hidden_layers, bert.intermediate_size), (10, 1, 14));
    assert_eq!((bert.vocab_size, bert.max_position_embeddings, bert.type_vocab_size), (512, 16, 2));

    args["vision3d_model_config"].as_object_mut().unwrap().remove("language_model_config");
    fs::write(&path, args.to_string()).unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("a text encoder of width 10 without a number of heads"), "{error}");

    args["vision3d_model_config"]["language_model_config"] = json!({ "num_attention_heads": 2, "vocab_size": 513 });
    fs::write(&path, args.to_string()).unwrap();
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    assert!(error.contains("word_embeddings.weight has shape [512, 10] instead of [513, 10]"), "{error}");
}

#[test]
fn everything_that_is_missing_or_misshapen_is_listed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::Bf16, |_, name| {
        name == "lm_head.weight" || name == "vision_model.encoder.layers.1.mlp.fc1.bias"
    });
    let mut args = config();
    args["llm_config"]["vocab_size"] = json!(513);
    fs::write(dir.path().join("args/config.json"), args.to_string()).unwrap();
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    fs::remove_file(dir.path().join("vision3d_model/vocab.txt")).unwrap();
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    for want in [
        "llm/model.embed_tokens.weight has shape [512, 8] instead of [513, 8]",
        "llm/lm_head.weight is missing",
        "vision2d_model/vision_model.encoder.layers.1.mlp.fc1.bias is missing",
        "it holds neither tokenizer.json nor tokenizer.model",
        "vision3d_model holds neither tokenizer.json nor vocab.txt",
    ] {
        assert!(error.contains(want), "{want}: {error}");
    }
    assert_eq!(error.lines().count(), 1);
}

/// A part's weights again, under the names and in the types and shapes that `change` makes of them.
fn rewritten(root: &Path, part: Part, change: impl Fn(&mut serde_json::Map<String, serde_json::Value>)) {
    let path = root.join(part.folder()).join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let table_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut table = serde_json::from_slice(&bytes[8..8 + table_len]).unwrap();
    change(&mut table);
    let table = serde_json::to_vec(&table).unwrap();
    fs::write(path, [&(table.len() as u64).to_le_bytes(), table.as_slice(), &bytes[8 + table_len..]].concat()).unwrap();
}

/// What the folder's check says, also where opening it does.
fn refusal(root: &Path) -> String {
    let checked = ModelFolder::open(root).and_then(|model| model.check(CheckOptions::default()).map(drop));
    checked.unwrap_err().to_string()
}

#[test]
fn names_that_all_have_a_prefix_are_one_sentence() {
    for (part, prefix) in Part::ALL.into_iter().flat_map(|part| [(part, "module."), (part, "_orig_mod.model.")]) {
        let dir = tiny();
        rewritten(dir.path(), part, |table| {
            table.remove("__metadata__");
            let renamed = std::mem::take(table).into_iter().map(|(name, entry)| (format!("{prefix}{name}"), entry));
            *table = renamed.collect();
        });
        let error = refusal(dir.path());
        assert!(error.contains(&format!("{part}: names its tensors {prefix}")), "{error}");
        assert!(error.ends_with(&format!("without {prefix:?} before every name")) && error.len() < 700, "{error}");
    }
}

#[test]
fn placeholders_of_deepspeed_are_one_sentence() {
    for part in Part::ALL {
        let dir = tiny();
        write_placeholders(dir.path(), part);
        let error = refusal(dir.path());
        assert!(error.contains(&format!("{part}: holds no values but placeholders (")), "{error}");
        assert!(error.contains("zero_to_fp32.py") && error.len() < 700, "{error}");
    }
}

/// Every tensor of a part without elements.
fn write_placeholders(root: &Path, part: Part) {
    let folder = root.join(part.folder());
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let empty = |name: &str| Declared { name: name.to_owned(), dtype: DType::Bf16, shape: vec![0] };
    let declared: Vec<_> = checkpoint.names().map(empty).collect();
    let path = folder.join("model.safetensors");
    fs::remove_file(&path).unwrap();
    SafetensorsWriter::create(&path, &declared).unwrap().finish().unwrap();
}

#[test]
fn a_tensor_of_another_type_is_not_called_missing() {
    let dir = tiny();
    rewritten(dir.path(), Part::Llm, |table| {
        // Four values of eight bytes in the place of eight values of four.
        let entry = &mut table["model.norm.weight"];
        entry["dtype"] = json!("F64");
        entry["shape"] = json!([4]);
    });
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    assert!(error.contains("llm/model.norm.weight is of type F64, but only f32, f16 and bf16 are read"), "{error}");
}

#[test]
fn a_tokenizer_with_more_ids_than_the_table_has_rows_is_refused() {
    let mut args = config();
    args["llm_config"]["vocab_size"] = json!(20);
    args["vision3d_model_config"]["language_model_config"]["vocab_size"] = json!(30);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &args, DType::F32, all);
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    assert!(error.contains("language model's tokenizer has 355 ids, but its embedding table 20 rows"), "{error}");
    assert!(error.contains("ids, but its embedding table 30 rows"), "{error}");
}

#[test]
fn tensors_that_the_model_does_not_compute_with_may_be_absent() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::F32, |_, name| {
        let unused =
            ["vision_model.head.", "vision_model.post_layernorm.", "vision_encoder.norm.", "mm_", "logit_scale"];
        unused.iter().any(|prefix| name.starts_with(prefix))
    });
    check(dir.path(), CheckOptions::default()).unwrap();

    let mut args = config();
    args["llm_config"]["tie_word_embeddings"] = json!(true);
    args["vision2d_model_select_layer"] = json!(-2);
    args["vision3d_model_select_layer"] = json!(0);
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &args, DType::F32, |_, name| {
        name == "lm_head.weight" || name.contains("encoder.layers.1.") || name.contains("blocks.1.")
    });
    check(dir.path(), CheckOptions::default()).unwrap();
}

#[test]
fn a_checkpoint_without_text_mlp_names_the_ways_on() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::F32, |_, name| name.starts_with("text_mlp."));
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    for want in ["vision3d_connector/text_mlp.weight is missing", "--tgis uniform", "--tgis-text-mlp random:SEED"] {
        assert!(error.contains(want), "{error}");
    }
    check(dir.path(), CheckOptions { need_guide: true, need_text_mlp: false }).unwrap();
    check(dir.path(), CheckOptions { need_guide: false, need_text_mlp: true }).unwrap();

    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::F32, |_, name| name.starts_with("language_encoder."));
    check(dir.path(), CheckOptions { need_guide: false, need_text_mlp: false }).unwrap();
    let error = check(dir.path(), CheckOptions { need_guide: true, need_text_mlp: false }).unwrap_err();
    assert!(error.contains("language_encoder.embeddings.word_embeddings.weight is missing"), "{error}");
    assert!(error.contains(" and 18 more; "), "{error}");
}

#[test]
fn a_3d_only_model_needs_no_2d_part() {
    let mut args = config();
    args["exp_id"] = json!(0);
    args["vision3d_connector_type"] = json!("spatial_pooling_mlp2x_gelu");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &args, DType::F32, all);
    assert!(!dir.path().join("vision2d_model").exists());
    let model = ModelFolder::open(dir.path()).unwrap();
    model.check(CheckOptions::default()).unwrap();
    assert!(model.vision_2d.is_none() && model.connector_2d.is_none());
}

#[test]
fn unknown_tensors_are_one_warning_and_known_leftovers_none() {
    let mut args = config();
    args["vision3d_connector_type"] = json!("spatial_pooling_score6_mlp2x_gelu");
    let dir = tiny();
    fs::write(dir.path().join("args/config.json"), args.to_string()).unwrap();
    let model = ModelFolder::open(dir.path()).unwrap();
    model.check(CheckOptions::default()).unwrap();
    let want = "unknown tensors, ignored: vision3d_connector/text_mlp.bias, vision3d_connector/text_mlp.weight";
    assert_eq!(model.warnings, [want]);
}

/// Not the same as a part without weights.
#[test]
fn weights_that_cannot_be_looked_at_are_not_called_absent() {
    let dir = tiny();
    let weights = dir.path().join("llm/model.safetensors");
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink(&weights, &weights).unwrap();
    let error = ModelFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("llm/model.safetensors: cannot open") && !error.contains("holds no weights"), "{error}");
}

/// A folder without weights to speak of lacks hundreds of tensors; the sentence stays one that can be read.
#[test]
fn long_lists_are_counted_instead() {
    let dir = tempfile::tempdir().unwrap();
    let mut args = config();
    args["llm_config"]["num_hidden_layers"] = json!(200);
    write(dir.path(), &args, DType::F32, |_, name| name.starts_with("model.layers."));
    let error = check(dir.path(), CheckOptions::default()).unwrap_err();
    assert!(error.chars().count() <= 700 && error.contains(" and 1"), "{error}");
    assert!(error.contains(" more; fetch the missing files"), "{error}");
}

/// Every file below `root` and its bytes.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(contents(&path));
        } else {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

/// A file of `torch.save` without the trace of an adapter: another name, and the checksum of the pickle that holds it.
fn merged(sample: &[u8]) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    let find = |bytes: &[u8], wanted: &[u8], from: usize| {
        from + bytes[from..].windows(wanted.len()).position(|window| window == wanted).unwrap()
    };
    let name = find(&bytes, b"base_layer", 0);
    bytes[name..name + 10].copy_from_slice(b"base-layer");
    let record = find(&bytes, b"PK\x01\x02", 0);
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let length = number(record + 24);
    let local = number(record + 42);
    let start = local + 30 + (number(local + 26) & 0xffff) + (number(local + 26) >> 16);
    let checksum = rawzip::crc32(&bytes[start..start + length]);
    bytes[record + 16..record + 20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn converting_keeps_every_value_and_touches_nothing() {
    let dir = tiny();
    // One part comes from torch.save: its tensors are unknown to the model, and converted all the same.
    fs::remove_file(dir.path().join("vision2d_connector/model.safetensors")).unwrap();
    fs::write(dir.path().join("vision2d_connector/pytorch_model.bin"), merged(include_bytes!("data/sample.bin")))
        .unwrap();
    let before = contents(dir.path());
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("converted");
    let mut reports = Vec::new();
    convert(dir.path(), &output, None, &mut |done, total| reports.push((done, total))).unwrap();
    assert_eq!(contents(dir.path()), before, "the input is only read");
    assert!(reports.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    assert!(reports.last().is_some_and(|(done, total)| done == total));

    let old = ModelFolder::open(dir.path()).unwrap();
    let new = ModelFolder::open(&output).unwrap();
    assert_eq!(new.config, old.config);
    for part in Part::ALL {
        let old = old.part(part).unwrap();
        let new = new.part(part).unwrap();
        assert!(old.names().eq(new.names()), "{part}");
        for (name, tensor) in old.iter() {
            let copy = new.get(name).unwrap();
            assert_eq!(
                (copy.dtype, &copy.shape, copy.bytes()),
                (tensor.dtype, &tensor.shape, tensor.bytes()),
                "{name}"
            );
        }
        assert!(output.join(part.folder()).join("model.safetensors").is_file());
        assert!(!output.join(part.folder()).join("pytorch_model.bin").exists());
    }
    for file in ["args/config.json", "tokenizer.json", "vision3d_model/vocab.txt"] {
        assert_eq!(fs::read(output.join(file)).unwrap(), fs::read(dir.path().join(file)).unwrap());
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1, "no partial folder is left");
}

#[test]
fn converting_to_bf16_rounds_to_nearest_even() {
    let dir = tiny();
    let out = tempfile::tempdir().unwrap();
    let output = out.path().join("converted");
    convert(dir.path(), &output, Some(DType::Bf16), &mut |_, _| {}).unwrap();
    let old = ModelFolder::open(dir.path()).unwrap();
    let new = ModelFolder::open(&output).unwrap();
    for (name, tensor) in old.vision_3d.iter() {
        let copy = new.vision_3d.get(name).unwrap();
        let want: Vec<f32> = tensor.to_f32().iter().map(|&v| half::bf16::from_f32(v).to_f32()).collect();
        assert_eq!((copy.dtype, copy.to_f32()), (DType::Bf16, want), "{name}");
    }
}

#[test]
fn converting_refuses_to_overwrite() {
    let dir = tiny();
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("precious"), "data").unwrap();
    let refused = |output: &Path, want: &str| {
        let error = convert(dir.path(), output, None, &mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::BadInput { .. }) && error.to_string().contains(want), "{error}");
    };
    refused(out.path(), "is not empty");
    refused(&out.path().join("precious"), "is a file");
    refused(&dir.path().join("inside"), "lies within the model's folder");
    refused(dir.path(), "is not empty");
    assert_eq!(contents(out.path()).len(), 1);

    let empty = tempfile::tempdir().unwrap();
    convert(dir.path(), empty.path(), None, &mut |_, _| {}).unwrap();
    ModelFolder::open(empty.path()).unwrap().check(CheckOptions::default()).unwrap();
}
