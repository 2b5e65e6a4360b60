//! M3D-CLIP's text encoder. The official files do not give its sizes: the weights do, and an optional object may.

use crate::checkpoint::Checkpoint;
use crate::error::Result;

use super::keys::{HEADS_MAX, INNER_MAX, Keys, LAYERS_MAX, POSITIONS_MAX, VOCABULARY_MAX, WIDTH_MAX};

/// A BERT encoder with pooler: post-norm, erf GELU, biases everywhere.
#[derive(Debug, Clone, PartialEq)]
pub struct BertConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Longest question, in tokens.
    pub max_position_embeddings: usize,
    /// Rows of the token type table, of which the first is used.
    pub type_vocab_size: usize,
    /// Of every layer norm.
    pub layer_norm_eps: f32,
}

/// What the configuration says about the text encoder: `language_model_config` in `vision3d_model/config.json`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BertKeys {
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f32>,
}

impl BertKeys {
    pub(super) fn parse(keys: &Keys) -> Result<Self> {
        let Some(keys) = keys.object("language_model_config", "language_model_config.")? else {
            return Ok(Self::default());
        };
        keys.one_of("model_type", &["bert"], Some("bert"))?;
        keys.one_of("hidden_act", &["gelu"], Some("gelu"))?;
        keys.one_of("position_embedding_type", &["absolute"], Some("absolute"))?;
        Ok(Self {
            hidden_size: keys.optional_size("hidden_size", 1..=WIDTH_MAX)?,
            num_hidden_layers: keys.optional_size("num_hidden_layers", 1..=LAYERS_MAX)?,
            num_attention_heads: keys.optional_size("num_attention_heads", 1..=HEADS_MAX)?,
            intermediate_size: keys.optional_size("intermediate_size", 1..=INNER_MAX)?,
            vocab_size: keys.optional_size("vocab_size", 1..=VOCABULARY_MAX)?,
            max_position_embeddings: keys.optional_size("max_position_embeddings", 1..=POSITIONS_MAX)?,
            type_vocab_size: keys.optional_size("type_vocab_size", 1..=1 << 10)?,
            layer_norm_eps: Some(keys.number("layer_norm_eps", Some(1e-12), 1.0)?),
        })
    }

    pub(super) fn declares_heads(&self) -> bool {
        self.num_attention_heads.is_some()
    }

    /// The sizes: what the keys say, else what the weights have, else BERT-base's. Where keys and weights contradict,
    /// the keys stand here and the check of the tensors names every contradiction.
    pub fn resolve(&self, weights: Option<&Checkpoint>) -> BertConfig {
        let dim = |name: &str, axis: usize| {
            let tensor = weights?.get(&format!("language_encoder.{name}"))?;
            tensor.shape.get(axis).copied().filter(|dim| (1..=VOCABULARY_MAX).contains(dim))
        };
        let layer_width = |layer: usize| dim(&format!("encoder.layer.{layer}.intermediate.dense.weight"), 0);
        let layers = (0..LAYERS_MAX).take_while(|&layer| layer_width(layer).is_some()).count();
        let words = "embeddings.word_embeddings.weight";
        let hidden_size = self.hidden_size.or(dim(words, 1)).unwrap_or(768);
        // Every BERT that was published has heads of 64; other widths must be declared, or they count as one head.
        let heads = if hidden_size.is_multiple_of(64) { hidden_size / 64 } else { 1 };
        BertConfig {
            hidden_size,
            num_hidden_layers: self.num_hidden_layers.or((layers > 0).then_some(layers)).unwrap_or(12),
            num_attention_heads: self.num_attention_heads.unwrap_or(heads),
            intermediate_size: self.intermediate_size.or(layer_width(0)).unwrap_or(3072),
            vocab_size: self.vocab_size.or(dim(words, 0)).unwrap_or(30522),
            max_position_embeddings: self
                .max_position_embeddings
                .or(dim("embeddings.position_embeddings.weight", 0))
                .unwrap_or(512),
            type_vocab_size: self.type_vocab_size.or(dim("embeddings.token_type_embeddings.weight", 0)).unwrap_or(2),
            layer_norm_eps: self.layer_norm_eps.unwrap_or(1e-12),
        }
    }
}
