//! A complete model folder of the smallest sizes, with every weight a different small number.

use std::fs;
use std::path::Path;

use med2e3_loaders::config::ConfigFiles;
use med2e3_loaders::tokenizer::{write_tiny_bert_vocab, write_tiny_llm_tokenizer};
use med2e3_loaders::{DType, Declared, ModelConfig, Part, SafetensorsWriter, expected_tensors};
use serde_json::{Value, json};

/// `args/config.json` of the smallest model that has every part.
pub fn config() -> Value {
    json!({
        "exp_id": 4,
        "llm_max_length": 64,
        "llm_config": {
            "model_type": "phi3", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": 512, "max_position_embeddings": 64, "eos_token_id": [2, 3]
        },
        "vision2d_connector_type": "mlp2x_gelu",
        "vision2d_model_config": {
            "hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 8, "patch_size": 4
        },
        "vision3d_connector_type": "spatial_pooling_score15_mlp2x_gelu",
        "vision3d_model_config": {
            "model_type": "m3d_clip", "img_size": [4, 8, 8], "patch_size": [1, 4, 4], "hidden_size": 6,
            "mlp_dim": 10, "num_layers": 2, "num_heads": 2,
            "language_model_config": {
                "hidden_size": 10, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 14,
                "vocab_size": 512, "max_position_embeddings": 16
            }
        }
    })
}

/// Writes a folder for `args`, leaving out the tensors for which `skip` holds.
pub fn write(root: &Path, args: &Value, dtype: DType, skip: fn(Part, &str) -> bool) {
    let files = ConfigFiles { args: args.to_string().into_bytes(), ..ConfigFiles::default() };
    let config = ModelConfig::parse(&files).unwrap();
    fs::create_dir_all(root.join("args")).unwrap();
    fs::write(root.join("args/config.json"), &files.args).unwrap();
    write_tiny_llm_tokenizer(root, &["lung"]).unwrap();
    let specs = expected_tensors(&config);
    for part in Part::ALL {
        let kept = specs.iter().filter(|spec| spec.part == part && !skip(part, &spec.name));
        let declared: Vec<Declared> =
            kept.map(|spec| Declared { name: spec.name.clone(), dtype, shape: spec.shape.clone() }).collect();
        if declared.is_empty() {
            continue;
        }
        let folder = root.join(part.folder());
        fs::create_dir_all(&folder).unwrap();
        let mut writer = SafetensorsWriter::create(&folder.join("model.safetensors"), &declared).unwrap();
        for (index, tensor) in declared.iter().enumerate() {
            let elements: usize = tensor.shape.iter().product();
            // A third has no end in binary: every narrower type rounds it.
            let value = (index + 1) as f32 / 3.0;
            let element = match dtype {
                DType::F32 => value.to_le_bytes().to_vec(),
                DType::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
                DType::Bf16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
            };
            writer.write(&tensor.name, &element.repeat(elements)).unwrap();
        }
        writer.finish().unwrap();
    }
    write_tiny_bert_vocab(&root.join("vision3d_model")).unwrap();
}
