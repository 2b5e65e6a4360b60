//! Traces of an adapter that is not merged: a model that is trained with one answers as its base without it.
//!
//! Names are those that PEFT, the trainers around it and its relatives write (LoRA, DoRA, IA3, LoHa, LoKr, VeRA, OFT).

use std::fs;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// Files that nothing else is called.
const FILES: [&str; 3] = ["adapter_config.json", "non_lora_trainables.bin", "model_with_lora.bin"];
/// Words in the names of files that hold an adapter's weights.
const FILE_WORDS: [&str; 5] = ["adapter", "adapters", "lora", "loras", "dora"];
/// What files of weights end with.
const WEIGHT_ENDINGS: [&str; 6] = ["safetensors", "bin", "pt", "pth", "ckpt", "npz"];
/// Parts of a tensor's name, between full stops, that only training with an adapter leaves.
const NAME_PARTS: [&str; 4] = ["base_layer", "base_model", "modules_to_save", "original_module"];
/// What such parts begin with.
const NAME_STARTS: [&str; 8] = ["lora_", "dora_", "ia3_", "hada_", "lokr_", "vera_", "oft_", "boft_"];
/// Folders below the model's that are looked into; a training run's own checkpoints lie one below.
const DEPTH_MAX: usize = 4;
/// Most entries looked at; a model's folder has some dozens.
const ENTRIES_MAX: usize = 100_000;

/// What to do about an adapter.
const REMEDY: &str = "merge it into llm/ first (PEFT's merge_and_unload), and leave the adapter's files out";

/// Refuses a model folder that holds an adapter's file, at any depth.
///
/// # Errors
/// Such a file, or a folder that cannot be listed.
pub(crate) fn refuse_files(root: &Path) -> Result<()> {
    let mut looked_at = 0;
    refuse_below(root, 0, &mut looked_at)
}

fn refuse_below(folder: &Path, depth: usize, looked_at: &mut usize) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(|error| Error::io(folder, "list", error))? {
        let entry = entry.map_err(|error| Error::io(folder, "list", error))?;
        *looked_at += 1;
        if *looked_at > ENTRIES_MAX {
            return Ok(());
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        // Links are followed: a hub's cache consists of them.
        if path.is_dir() {
            if depth < DEPTH_MAX && !name.starts_with('.') {
                refuse_below(&path, depth + 1, looked_at)?;
            }
        } else if is_adapter_file(&name) {
            return Err(Error::bad_input(path, "belongs to a LoRA adapter, which is not applied", REMEDY));
        }
    }
    Ok(())
}

/// Whether a file of this name holds an adapter, or what was trained beside one.
fn is_adapter_file(name: &str) -> bool {
    let name = name.to_lowercase();
    if FILES.contains(&name.as_str()) {
        return true;
    }
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let mut words = stem.split(|letter: char| !letter.is_ascii_alphanumeric());
    WEIGHT_ENDINGS.contains(&ending) && words.any(|word| FILE_WORDS.contains(&word))
}

/// Refuses a part's weights if they hold a tensor that only training with an adapter leaves.
///
/// # Errors
/// Such a tensor.
pub(crate) fn refuse_tensors(folder: &Path, weights: &Checkpoint) -> Result<()> {
    let Some(name) = weights.adapter_tensor() else { return Ok(()) };
    let finding = format!("holds the tensor {name:?} of a LoRA adapter that is not merged");
    Err(Error::bad_input(folder, finding, REMEDY))
}

/// Whether only training with an adapter gives a tensor this name.
pub(crate) fn is_adapter_tensor(name: &str) -> bool {
    let is_trace = |part: &str| NAME_PARTS.contains(&part) || NAME_STARTS.iter().any(|start| part.starts_with(start));
    name.split('.').any(is_trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for name in [
            "adapter_config.json",
            "adapter_model.safetensors",
            "adapter_model.bin",
            "adapter_model-00001-of-00002.safetensors",
            "adapters.safetensors",
            "non_lora_trainables.bin",
            "pytorch_lora_weights.safetensors",
            "llm-lora.PT",
        ] {
            assert!(is_adapter_file(name), "{name}");
        }
        for name in ["config.json", "flora.bin", "model.safetensors", "adapter.md", "exploration_lorax.bin", "lora"] {
            assert!(!is_adapter_file(name), "{name}");
        }
    }

    #[test]
    fn tensors_are_known_by_their_names() {
        for name in [
            "base_model.model.llm.model.layers.0.self_attn.qkv_proj.lora_A.weight",
            "model.layers.0.mlp.down_proj.lora_B.default.weight",
            "model.embed_tokens.lora_embedding_A",
            "model.layers.0.mlp.down_proj.lora_magnitude_vector",
            "model.layers.0.mlp.down_proj.base_layer.weight",
            "lm_head.modules_to_save.default.weight",
            "score.original_module.weight",
            "model.layers.0.mlp.down_proj.ia3_l",
        ] {
            assert!(is_adapter_tensor(name), "{name}");
        }
        for name in ["model.norm.weight", "flora_A.weight", "base_layers.0", "text_mlp.bias", "model.layer"] {
            assert!(!is_adapter_tensor(name), "{name}");
        }
    }
}
