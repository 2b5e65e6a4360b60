//! The sizes of the models that `make-model` writes, and their configuration files as the official code saves them.

use clap::ValueEnum;
use serde_json::{Value, json};

/// Which model to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A few MB: the release's input size, variant and head widths, two layers of everything
    Tiny,
    /// The release's exact sizes, 8.7 GB in bf16
    Released,
}

/// Width, layers, heads and MLP width of a transformer.
#[derive(Debug, Clone, Copy)]
pub struct Stack {
    hidden: usize,
    layers: usize,
    heads: usize,
    ffn: usize,
}

/// Every size of a model.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    llm: Stack,
    vision_2d: Stack,
    vision_3d: Stack,
    bert: Stack,
    bert_positions: usize,
    /// Rows of the LLM's table beyond its tokenizer's entries are rounded up to a multiple of this.
    vocab_multiple: usize,
}

/// What the configuration needs to know of the tokenizers that were written.
#[derive(Debug, Clone, Copy)]
pub struct Vocabularies {
    /// Tokens of the LLM's tokenizer.
    pub llm: usize,
    /// The id of `<|endoftext|>`.
    pub end: usize,
    /// Tokens of BERT's vocabulary.
    pub bert: usize,
}

/// The official release's input and patches, kept by both presets.
const IMG_SIZE: [usize; 3] = [32, 256, 256];
const PATCH_SIZE: [usize; 3] = [4, 16, 16];
const MAX_LENGTH: usize = 768;

/// Phi-3-mini-128k's divisors of the rotary frequencies (July 2024): how often each occurs, in order.
const SHORT_FACTORS: [(f64, usize); 18] = [
    (1.1, 3),
    (1.3, 1),
    (1.35, 2),
    (1.4, 1),
    (1.55, 1),
    (2.0, 17),
    (2.05, 6),
    (2.1, 2),
    (2.15, 1),
    (2.25, 5),
    (2.4, 1),
    (2.45, 1),
    (2.5, 1),
    (2.7, 2),
    (2.75, 1),
    (2.8, 1),
    (2.9, 1),
    (3.05, 1),
];

impl Preset {
    /// Its sizes.
    pub fn sizes(self) -> Sizes {
        let stack = |hidden, layers, heads, ffn| Stack { hidden, layers, heads, ffn };
        match self {
            // Heads are as wide as the release's (96 and 64), so that every device's kernels have this shape.
            Self::Tiny => Sizes {
                llm: stack(192, 2, 2, 512),
                vision_2d: stack(128, 2, 2, 256),
                vision_3d: stack(128, 2, 2, 256),
                bert: stack(128, 2, 2, 256),
                bert_positions: 512,
                vocab_multiple: 64,
            },
            Self::Released => Sizes {
                llm: stack(3072, 32, 32, 8192),
                vision_2d: stack(1024, 24, 16, 4096),
                vision_3d: stack(768, 12, 12, 3072),
                bert: stack(768, 12, 12, 3072),
                bert_positions: 512,
                vocab_multiple: 64,
            },
        }
    }
}

impl Sizes {
    /// `llm/config.json`.
    pub fn llm_config(&self, vocabularies: Vocabularies) -> Value {
        let Stack { hidden, layers, heads, ffn } = self.llm;
        let short: Vec<f64> = SHORT_FACTORS.iter().flat_map(|&(factor, count)| vec![factor; count]).collect();
        // Only sequences beyond 4096 positions use these, and the model ends at 768; they rise as the real ones do.
        let long: Vec<f64> = (0..short.len()).map(|i| (64f64.powf(i as f64 / 47.0) * 100.0).round() / 100.0).collect();
        json!({
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "attention_dropout": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
            "bos_token_id": 1, "eos_token_id": vocabularies.end, "pad_token_id": vocabularies.end,
            "hidden_act": "silu", "hidden_size": hidden, "intermediate_size": ffn, "initializer_range": 0.02,
            "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
            "num_attention_heads": heads, "num_hidden_layers": layers, "num_key_value_heads": heads,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 262144,
            "rope_scaling": {"type": "longrope", "short_factor": short, "long_factor": long},
            "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true,
            "vocab_size": vocabularies.llm.next_multiple_of(self.vocab_multiple),
        })
    }

    /// `vision2d_model/config.json`.
    pub fn vision_2d_config(&self) -> Value {
        let Stack { hidden, layers, heads, ffn } = self.vision_2d;
        json!({
            "model_type": "siglip_vision_model", "torch_dtype": "bfloat16",
            "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "image_size": IMG_SIZE[1], "patch_size": PATCH_SIZE[1], "num_channels": 3,
            "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6, "attention_dropout": 0.0,
        })
    }

    /// `vision3d_model/config.json`.
    pub fn vision_3d_config(&self, vocabularies: Vocabularies) -> Value {
        let Stack { hidden, layers, heads, ffn } = self.vision_3d;
        let bert = self.bert;
        json!({
            "architectures": ["M3DCLIP"], "model_type": "m3d_clip", "torch_dtype": "bfloat16",
            "auto_map": {
                "AutoConfig": "configuration_m3d_clip.M3DCLIPConfig", "AutoModel": "modeling_m3d_clip.M3DCLIP"
            },
            "img_size": IMG_SIZE, "patch_size": PATCH_SIZE, "in_channels": 1, "spatial_dims": 3,
            "hidden_size": hidden, "mlp_dim": ffn, "num_layers": layers, "num_heads": heads,
            "pos_embed": "perceptron", "dropout_rate": 0, "max_text_len": 128,
            "vocab_size": vocabularies.bert, "language_model_name_or_path": "bert-base-uncased",
            "local_loss": false, "gather_loss": true,
            "language_model_config": {
                "model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12,
                "hidden_size": bert.hidden, "intermediate_size": bert.ffn,
                "num_hidden_layers": bert.layers, "num_attention_heads": bert.heads,
                "vocab_size": vocabularies.bert, "max_position_embeddings": self.bert_positions, "type_vocab_size": 2,
            },
        })
    }

    /// `args/config.json`.
    pub fn args_config(&self, vocabularies: Vocabularies, kind_3d: &str) -> Value {
        let connector = |kind: &str, from: usize| {
            json!({
                "connector_type": kind, "img_size": IMG_SIZE, "patch_size": PATCH_SIZE,
                "input_dim": from, "output_dim": self.llm.hidden, "model_type": "",
            })
        };
        let kind_2d = "mlp2x_gelu";
        json!({
            "exp_id": 4, "model_type": "medmllm", "hidden_size": self.llm.hidden, "cache_dir_hf": null,
            "llm_type": "phi3", "llm_attn_implementation": "flash_attention_2", "llm_max_length": MAX_LENGTH,
            "llm_padding_side": "right", "llm_config": self.llm_config(vocabularies),
            "tokenizer_name_or_path": "microsoft/Phi-3-mini-128k-instruct", "tokenizer_use_fast": false,
            "vision2d_model_type": "siglip", "vision2d_model_config": self.vision_2d_config(),
            "vision2d_model_select_layer": -1, "vision2d_model_select_feature": "cls_patch",
            "vision2d_connector_type": kind_2d,
            "vision2d_connector_config": connector(kind_2d, self.vision_2d.hidden),
            "vision3d_model_type": "m3d", "vision3d_model_config": self.vision_3d_config(vocabularies),
            "vision3d_model_select_layer": -1, "vision3d_model_select_feature": "patch",
            "vision3d_connector_type": kind_3d,
            "vision3d_connector_config": connector(kind_3d, self.vision_3d.hidden),
        })
    }
}
