//! Any trace of an adapter that is not merged is refused: the model without it answers as another one.

mod checkpoint_tiny;

use std::fs;
use std::path::Path;

use checkpoint_tiny::{config, write};
use med2e3_loaders::{DType, Declared, ModelFolder, Part, SafetensorsWriter, convert};

fn tiny() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config(), DType::Bf16, |_, _| false);
    dir
}

/// The one sentence that opening and converting `root` give.
fn refused(root: &Path) -> String {
    let said = ModelFolder::open(root).map(|_| ()).unwrap_err().to_string();
    let out = tempfile::tempdir().unwrap();
    let converted = convert(root, &out.path().join("out"), None, &mut |_, _| {}).unwrap_err().to_string();
    assert_eq!(said, converted);
    assert!(said.contains("LoRA adapter") && said.contains("merge_and_unload"), "{said}");
    said
}

#[test]
fn files_of_an_adapter_are_refused_wherever_they_lie() {
    for place in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "llm/adapter_config.json",
        "llm/adapter_model.bin",
        "llm/adapter/adapter_model.safetensors",
        "vision3d_connector/adapter_model.safetensors",
        "checkpoint-500/adapter_config.json",
        "a/b/c/adapters.safetensors",
        "non_lora_trainables.bin",
        "llm/pytorch_lora_weights.safetensors",
        "args/adapter_config.json",
    ] {
        let dir = tiny();
        ModelFolder::open(dir.path()).unwrap();
        let path = dir.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        assert!(refused(dir.path()).contains(place), "{place}");
    }
    let dir = tiny();
    std::os::unix::fs::symlink("../blobs/0f3a", dir.path().join("llm/adapter_model.safetensors")).unwrap();
    refused(dir.path());
}

/// Adds a tensor of this name to a part's weights.
fn add_tensor(root: &Path, part: Part, name: &str) {
    let folder = root.join(part.folder());
    let weights = med2e3_loaders::Checkpoint::open(&folder).unwrap();
    let declare = |name: &str, shape: &[usize]| Declared { name: name.into(), dtype: DType::Bf16, shape: shape.into() };
    let mut declared: Vec<Declared> = weights.iter().map(|(name, tensor)| declare(name, &tensor.shape)).collect();
    declared.push(declare(name, &[1]));
    let mut writer = SafetensorsWriter::create(&folder.join("model.safetensors"), &declared).unwrap();
    for (name, tensor) in weights.iter() {
        writer.write(name, tensor.bytes()).unwrap();
    }
    writer.write(name, &[0, 0]).unwrap();
    writer.finish().unwrap();
}

#[test]
fn tensors_of_an_adapter_are_refused_in_every_part() {
    for (part, name) in [
        (Part::Llm, "base_model.model.llm.model.layers.0.self_attn.qkv_proj.lora_A.weight"),
        (Part::Llm, "model.layers.0.mlp.down_proj.lora_B.default.weight"),
        (Part::Vision2d, "vision_model.encoder.layers.0.mlp.fc1.lora_magnitude_vector"),
        (Part::Connector2d, "_connector.0.modules_to_save.default.weight"),
        (Part::Vision3d, "language_encoder.embeddings.word_embeddings.lora_embedding_A.default"),
        (Part::Connector3d, "_connector.2.base_layer.bias2"),
    ] {
        let dir = tiny();
        add_tensor(dir.path(), part, name);
        let said = refused(dir.path());
        assert!(said.contains(name) && said.contains(part.folder()), "{said}");
    }
}

/// What `torch.save` made of a model with such a tensor among others.
#[test]
fn a_file_of_torch_save_is_no_exception() {
    let dir = tiny();
    let connector = dir.path().join("vision3d_connector");
    fs::remove_file(connector.join("model.safetensors")).unwrap();
    fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/sample.bin"), connector.join("pytorch_model.bin"))
        .unwrap();
    assert!(refused(dir.path()).contains("layer.base_layer.weight"));
}

#[test]
fn other_files_and_names_are_no_trace() {
    let dir = tiny();
    fs::write(dir.path().join("README-lora.md"), "how it was trained").unwrap();
    fs::create_dir_all(dir.path().join(".cache/old")).unwrap();
    fs::write(dir.path().join(".cache/old/adapter_config.json"), "{}").unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("round")).unwrap();
    add_tensor(dir.path(), Part::Llm, "explorations.flora_A");
    let warnings = ModelFolder::open(dir.path()).unwrap().warnings;
    assert_eq!(warnings, ["unknown tensors, ignored: llm/explorations.flora_A"]);
}
