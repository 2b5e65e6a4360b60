//! The language model: Phi-3, with plain or longrope positions.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::Value;

use crate::error::Result;

use super::keys::{Found, HEADS_MAX, INNER_MAX, Keys, LAYERS_MAX, POSITIONS_MAX, VOCABULARY_MAX, WIDTH_MAX, size_of};

/// A Phi-3 decoder: pre-norm, RMS norms, fused qkv and gate-up projections without biases, SwiGLU.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmConfig {
    /// Width of the residual stream; `num_attention_heads * head_dim`.
    pub hidden_size: usize,
    /// Width of the MLP (of gate and up each).
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Rows of the embedding table, which may exceed the tokenizer's entries.
    pub vocab_size: usize,
    /// Of every RMS norm.
    pub rms_norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// Scaling of the rotary frequencies.
    pub rope: Rope,
    /// Most positions.
    pub max_position_embeddings: usize,
    /// Span of attention; never shorter than the model's `llm_max_length`, so it never cuts anything.
    pub sliding_window: Option<usize>,
    /// Ids that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// Id that begins a text, where there is one.
    pub bos_token_id: Option<u32>,
    /// Whether the embedding table is also the output projection (there is no `lm_head.weight` then).
    pub tie_word_embeddings: bool,
}

/// Scaling of the rotary frequencies.
#[derive(Debug, Clone, PartialEq)]
pub enum Rope {
    /// None.
    Plain,
    /// A divisor per frequency; cos and sin are multiplied by `attention_factor`, however short the text.
    Longrope {
        /// Divisors while positions stay within `original_max_position_embeddings`; `head_dim / 2` of them.
        short_factor: Vec<f32>,
        /// Divisors beyond that.
        long_factor: Vec<f32>,
        /// Positions of the model before it was extended.
        original_max_position_embeddings: usize,
        /// Positions after.
        max_position_embeddings: usize,
        /// sqrt(1 + ln(max / original) / ln(original)) unless the file gives another.
        attention_factor: f32,
    },
}

pub(super) fn parse(keys: &Keys) -> Result<LlmConfig> {
    keys.one_of("model_type", &["phi3"], None)?;
    keys.one_of("hidden_act", &["silu"], Some("silu"))?;
    keys.absent(&["attention_bias", "mlp_bias", "quantization_config"])?;
    // Where transformers 5 puts theta and the like; older files have them beside the sizes.
    let rope_keys = keys.with_inner("rope_parameters", "rope_parameters.");
    rope_keys.exactly("partial_rotary_factor", 1.0)?;
    let hidden_size = keys.size("hidden_size", None, 1..=WIDTH_MAX)?;
    let heads = keys.size("num_attention_heads", None, 1..=HEADS_MAX)?;
    let kv_heads = keys.size("num_key_value_heads", Some(heads), 1..=HEADS_MAX)?;
    let head_dim = keys.size("head_dim", Some(hidden_size / heads), 1..=WIDTH_MAX)?;
    if heads * head_dim != hidden_size || head_dim % 2 != 0 || !heads.is_multiple_of(kv_heads) {
        let finding = format!(
            "has hidden_size {hidden_size}, {heads} attention heads, {kv_heads} key-value heads, head_dim {head_dim}"
        );
        let remedy = "use an even head_dim, hidden_size = heads * head_dim, and heads a multiple of key-value heads";
        return Err(keys.bad(finding, remedy));
    }
    let max_position_embeddings = keys.size("max_position_embeddings", None, 1..=POSITIONS_MAX)?;
    let vocab_size = keys.size("vocab_size", None, 1..=VOCABULARY_MAX)?;
    Ok(LlmConfig {
        hidden_size,
        intermediate_size: keys.size("intermediate_size", None, 1..=INNER_MAX)?,
        num_hidden_layers: keys.size("num_hidden_layers", None, 1..=LAYERS_MAX)?,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        head_dim,
        vocab_size,
        rms_norm_eps: keys.number("rms_norm_eps", Some(1e-5), 1.0)?,
        rope_theta: rope_keys.number("rope_theta", Some(10000.0), 1e12)?,
        rope: rope(&rope_keys, head_dim, max_position_embeddings)?,
        max_position_embeddings,
        sliding_window: keys.optional_size("sliding_window", 1..=1 << 40)?,
        eos_token_ids: eos(keys, vocab_size)?,
        bos_token_id: keys.optional_size("bos_token_id", 0..=vocab_size - 1)?.map(|id| id as u32),
        tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
    })
}

/// A number or a list of numbers. Files that name the same ids in another order, or one as a list, agree.
fn eos(keys: &Keys, vocab_size: usize) -> Result<Vec<u32>> {
    let given = keys.all("eos_token_id").map(|found| token_ids(&found, vocab_size));
    let given: Vec<Vec<u32>> = given.collect::<Result<_>>()?;
    let as_set = |ids: &Vec<u32>| ids.iter().copied().collect::<BTreeSet<u32>>();
    if given.windows(2).any(|pair| as_set(&pair[0]) != as_set(&pair[1])) {
        keys.find("eos_token_id")?;
    }
    Ok(given.into_iter().next().unwrap_or_default())
}

fn token_ids(found: &Found, vocab_size: usize) -> Result<Vec<u32>> {
    let Some(list) = found.value.as_array() else {
        return Ok(vec![size_of(found, &(0..=vocab_size - 1))? as u32]);
    };
    let ids = list.iter().map(|id| id.as_u64().filter(|&id| id < vocab_size as u64).map(|id| id as u32));
    ids.collect::<Option<_>>().ok_or_else(|| found.refuse(&format!("token ids below vocab_size {vocab_size}")))
}

/// The scaling that every file gives must be the same one, however each spells it: newer versions of transformers
/// rename the type, and version 5 the object, so the parsed values are compared.
fn rope(keys: &Keys, head_dim: usize, max_positions: usize) -> Result<Rope> {
    let original = keys.optional_size("original_max_position_embeddings", positions())?;
    let given = keys.all("rope_scaling").chain(keys.all("rope_parameters"));
    let mut parsed = given.map(|found| (found, scaling(&found, head_dim, max_positions, original)));
    let Some((_, first)) = parsed.next() else { return Ok(Rope::Plain) };
    let first = first?;
    for (found, other) in parsed {
        if other? != first {
            return Err(found.refuse("one rope_scaling, but another config file has different numbers"));
        }
    }
    Ok(first)
}

/// 1 has no logarithm to divide by.
fn positions() -> RangeInclusive<usize> {
    2..=POSITIONS_MAX
}

fn scaling(found: &Found, head_dim: usize, max_positions: usize, original: Option<usize>) -> Result<Rope> {
    let field = |key: &str| found.value.get(key).filter(|value| !value.is_null());
    let kind = field("rope_type").or(field("type")).and_then(Value::as_str);
    match kind {
        Some("default") => return Ok(Rope::Plain),
        Some("longrope" | "su") => {}
        _ => return Err(found.refuse("null, or type longrope (also spelled su)")),
    }
    if field("short_mscale").is_some() || field("long_mscale").is_some() {
        return Err(found.refuse("longrope without short_mscale and long_mscale"));
    }
    let factors = |key: &str| {
        let list = field(key).and_then(Value::as_array).filter(|list| list.len() == head_dim / 2);
        let wanted = || found.refuse(&format!("{key} as a list of {} numbers above 0, half of head_dim", head_dim / 2));
        let usable = |value: &Value| value.as_f64().map(|f| f as f32).filter(|f| f.is_finite() && *f > 0.0);
        list.and_then(|list| list.iter().map(usable).collect::<Option<Vec<f32>>>()).ok_or_else(wanted)
    };
    let inner = field("original_max_position_embeddings").and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok());
    let original = original.or(inner).filter(|original| positions().contains(original));
    let original = original.ok_or_else(|| found.refuse("longrope with original_max_position_embeddings beside it"))?;
    let attention_factor = match field("attention_factor") {
        Some(given) => given.as_f64().filter(|factor| *factor > 0.0 && *factor < 1e3),
        None => Some(attention_factor(max_positions, original)),
    };
    Ok(Rope::Longrope {
        short_factor: factors("short_factor")?,
        long_factor: factors("long_factor")?,
        original_max_position_embeddings: original,
        max_position_embeddings: max_positions,
        attention_factor: attention_factor.ok_or_else(|| found.refuse("attention_factor as a number above 0"))? as f32,
    })
}

/// What cos and sin are multiplied by after the context was extended; 1 where it was not.
fn attention_factor(max_positions: usize, original: usize) -> f64 {
    let scale = max_positions as f64 / original as f64;
    if scale <= 1.0 { 1.0 } else { (1.0 + scale.ln() / (original as f64).ln()).sqrt() }
}
