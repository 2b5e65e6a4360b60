//! Every tensor that the official layout has for a configuration, and which of them the model needs.

use std::fmt;

use crate::config::{BertConfig, Connector2d, Guide, LlmConfig, ModelConfig, SiglipConfig, VitConfig};

/// A folder of the official layout that holds weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The language model.
    Llm,
    /// SigLIP.
    Vision2d,
    /// What maps SigLIP's features to the language model.
    Connector2d,
    /// M3D-CLIP: the 3D encoder and BERT.
    Vision3d,
    /// What maps 3D features to the language model, and scores slices.
    Connector3d,
}

impl Part {
    /// All of them, in the order in which they are reported.
    pub const ALL: [Self; 5] = [Self::Llm, Self::Vision2d, Self::Connector2d, Self::Vision3d, Self::Connector3d];

    /// Its folder's name.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Llm => "llm",
            Self::Vision2d => "vision2d_model",
            Self::Connector2d => "vision2d_connector",
            Self::Vision3d => "vision3d_model",
            Self::Connector3d => "vision3d_connector",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.folder())
    }
}

/// One tensor of the official layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The folder that holds it.
    pub part: Part,
    /// Its name there.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Whether the model as configured computes with it. The others are what training leaves in the file.
    pub required: bool,
}

/// Every tensor of the official layout for `config`.
pub fn expected_tensors(config: &ModelConfig) -> Vec<TensorSpec> {
    let mut list = List { specs: Vec::new(), part: Part::Llm, required: true };
    list.llm(&config.llm);
    if let (Some(encoder), Some(connector)) = (&config.vision_2d, config.connector_2d) {
        list.part = Part::Vision2d;
        list.siglip(encoder);
        list.part = Part::Connector2d;
        list.connector_2d(connector, encoder.hidden_size, config.llm.hidden_size);
    }
    list.part = Part::Vision3d;
    list.vit(&config.vision_3d);
    list.required = config.scoring.is_guided_by(Guide::BertPooler);
    list.bert(&config.bert);
    list.unused_clip(config.vision_3d.hidden_size, config.bert.hidden_size);
    list.part = Part::Connector3d;
    list.required = true;
    list.mlp2x(config.vision_3d.hidden_size, config.llm.hidden_size);
    if config.scoring.is_guided_by(Guide::BertPooler) {
        list.linear("text_mlp", config.llm.hidden_size, config.bert.hidden_size);
    } else if config.scoring.is_guided_by(Guide::Linear) {
        list.linear("scoring_module", 1, config.llm.hidden_size);
    }
    list.specs
}

struct List {
    specs: Vec<TensorSpec>,
    part: Part,
    required: bool,
}

impl List {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        let spec = TensorSpec { part: self.part, name: name.into(), shape: shape.to_vec(), required: self.required };
        self.specs.push(spec);
    }

    fn linear(&mut self, name: &str, outputs: usize, inputs: usize) {
        self.add(format!("{name}.weight"), &[outputs, inputs]);
        self.add(format!("{name}.bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.add(format!("{name}.weight"), &[width]);
        self.add(format!("{name}.bias"), &[width]);
    }

    fn llm(&mut self, config: &LlmConfig) {
        let hidden = config.hidden_size;
        let inner = config.intermediate_size;
        let kv_width = config.num_key_value_heads * config.head_dim;
        self.add("model.embed_tokens.weight", &[config.vocab_size, hidden]);
        for i in 0..config.num_hidden_layers {
            let layer = format!("model.layers.{i}");
            self.add(format!("{layer}.self_attn.qkv_proj.weight"), &[hidden + 2 * kv_width, hidden]);
            self.add(format!("{layer}.self_attn.o_proj.weight"), &[hidden, hidden]);
            self.add(format!("{layer}.mlp.gate_up_proj.weight"), &[2 * inner, hidden]);
            self.add(format!("{layer}.mlp.down_proj.weight"), &[hidden, inner]);
            self.add(format!("{layer}.input_layernorm.weight"), &[hidden]);
            self.add(format!("{layer}.post_attention_layernorm.weight"), &[hidden]);
        }
        self.add("model.norm.weight", &[hidden]);
        if !config.tie_word_embeddings {
            self.add("lm_head.weight", &[config.vocab_size, hidden]);
        }
    }

    fn siglip(&mut self, config: &SiglipConfig) {
        let hidden = config.hidden_size;
        let inner = config.intermediate_size;
        let patch = config.patch_size;
        self.required = true;
        let embeddings = "vision_model.embeddings";
        self.add(format!("{embeddings}.patch_embedding.weight"), &[hidden, config.num_channels, patch, patch]);
        self.add(format!("{embeddings}.patch_embedding.bias"), &[hidden]);
        self.add(format!("{embeddings}.position_embedding.weight"), &[config.tokens(), hidden]);
        for i in 0..config.num_hidden_layers {
            self.required = i < config.layers_run;
            let layer = format!("vision_model.encoder.layers.{i}");
            for projection in ["k_proj", "v_proj", "q_proj", "out_proj"] {
                self.linear(&format!("{layer}.self_attn.{projection}"), hidden, hidden);
            }
            self.norm(&format!("{layer}.layer_norm1"), hidden);
            self.linear(&format!("{layer}.mlp.fc1"), inner, hidden);
            self.linear(&format!("{layer}.mlp.fc2"), hidden, inner);
            self.norm(&format!("{layer}.layer_norm2"), hidden);
        }
        self.required = false;
        self.norm("vision_model.post_layernorm", hidden);
        let head = "vision_model.head";
        self.add(format!("{head}.probe"), &[1, 1, hidden]);
        self.add(format!("{head}.attention.in_proj_weight"), &[3 * hidden, hidden]);
        self.add(format!("{head}.attention.in_proj_bias"), &[3 * hidden]);
        self.linear(&format!("{head}.attention.out_proj"), hidden, hidden);
        self.norm(&format!("{head}.layernorm"), hidden);
        self.linear(&format!("{head}.mlp.fc1"), inner, hidden);
        self.linear(&format!("{head}.mlp.fc2"), hidden, inner);
        self.required = true;
    }

    fn vit(&mut self, config: &VitConfig) {
        let hidden = config.hidden_size;
        let inner = config.mlp_dim;
        self.required = true;
        self.add("vision_encoder.cls_token", &[1, 1, hidden]);
        let embedding = "vision_encoder.patch_embedding";
        self.add(format!("{embedding}.position_embeddings"), &[1, config.tokens(), hidden]);
        self.linear(&format!("{embedding}.patch_embeddings.1"), hidden, config.patch_voxels());
        for i in 0..config.num_layers {
            self.required = i < config.layers_run;
            let block = format!("vision_encoder.blocks.{i}");
            self.linear(&format!("{block}.mlp.linear1"), inner, hidden);
            self.linear(&format!("{block}.mlp.linear2"), hidden, inner);
            self.norm(&format!("{block}.norm1"), hidden);
            self.linear(&format!("{block}.attn.out_proj"), hidden, hidden);
            self.add(format!("{block}.attn.qkv.weight"), &[3 * hidden, hidden]);
            self.norm(&format!("{block}.norm2"), hidden);
        }
        self.required = false;
        self.norm("vision_encoder.norm", hidden);
    }

    fn bert(&mut self, config: &BertConfig) {
        let hidden = config.hidden_size;
        let inner = config.intermediate_size;
        let embeddings = "language_encoder.embeddings";
        self.add(format!("{embeddings}.word_embeddings.weight"), &[config.vocab_size, hidden]);
        self.add(format!("{embeddings}.position_embeddings.weight"), &[config.max_position_embeddings, hidden]);
        self.add(format!("{embeddings}.token_type_embeddings.weight"), &[config.type_vocab_size, hidden]);
        self.norm(&format!("{embeddings}.LayerNorm"), hidden);
        for i in 0..config.num_hidden_layers {
            let layer = format!("language_encoder.encoder.layer.{i}");
            for projection in ["self.query", "self.key", "self.value", "output.dense"] {
                self.linear(&format!("{layer}.attention.{projection}"), hidden, hidden);
            }
            self.norm(&format!("{layer}.attention.output.LayerNorm"), hidden);
            self.linear(&format!("{layer}.intermediate.dense"), inner, hidden);
            self.linear(&format!("{layer}.output.dense"), hidden, inner);
            self.norm(&format!("{layer}.output.LayerNorm"), hidden);
        }
        self.linear("language_encoder.pooler.dense", hidden, hidden);
    }

    /// What M3D-CLIP's own contrastive training needs and Med-2E3 does not.
    fn unused_clip(&mut self, vision_width: usize, text_width: usize) {
        self.required = false;
        self.add("logit_scale", &[]);
        self.linear("mm_vision_proj", vision_width, vision_width);
        self.linear("mm_language_proj", vision_width, text_width);
    }

    fn connector_2d(&mut self, connector: Connector2d, inputs: usize, outputs: usize) {
        self.required = true;
        match connector {
            Connector2d::Mlp2xGelu | Connector2d::PlanePoolingMlp2xGelu => self.mlp2x(inputs, outputs),
            Connector2d::Linear => self.linear("_connector", outputs, inputs),
        }
    }

    fn mlp2x(&mut self, inputs: usize, outputs: usize) {
        self.linear("_connector.0", outputs, inputs);
        self.linear("_connector.2", outputs, outputs);
    }
}
