//! The golden models, written by PyTorch in all file formats: each variant opens and passes its check.

use std::fs;
use std::path::{Path, PathBuf};

use med2e3_loaders::{CheckOptions, ModelFolder, convert};
use serde_json::Value;

/// Puts a variant's files together as a model folder.
fn assemble(golden: &Path, files: &Value, folder: &Path) {
    for (target, source) in files.as_object().unwrap() {
        let target = folder.join(target);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(golden.join(source.as_str().unwrap()), target).unwrap();
    }
}

#[test]
fn every_golden_model_opens_passes_its_check_and_converts() {
    let golden = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/golden"));
    let cases: Value = serde_json::from_slice(&fs::read(golden.join("cases.json")).unwrap()).unwrap();
    let models = cases["models"].as_object().unwrap();
    assert!(models.len() >= 20, "{} models", models.len());
    for (name, model) in models {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("model");
        let converted = dir.path().join("converted");
        assemble(&golden, &model["files"], &folder);
        let opened = ModelFolder::open(&folder).unwrap();
        assert_eq!(opened.warnings, Vec::<String>::new(), "{name}");
        let tokenizers = opened.check(CheckOptions::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(tokenizers.llm.vocab_size() <= opened.config.llm.vocab_size, "{name}");
        convert(&folder, &converted, None, &mut |_, _| {}).unwrap();
        let copy = ModelFolder::open(&converted).unwrap();
        assert_eq!(copy.config, opened.config, "{name}");
        for (tensor_name, tensor) in opened.llm.iter().chain(opened.connector_3d.iter()) {
            let copied = copy.llm.get(tensor_name).or(copy.connector_3d.get(tensor_name)).unwrap();
            assert_eq!((copied.dtype, copied.bytes()), (tensor.dtype, tensor.bytes()), "{name}: {tensor_name}");
        }
    }
}
