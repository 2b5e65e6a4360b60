//! `tokenizer.json` through the `tokenizers` crate, after a check that it asks only for steps we know.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::{read_file, step_failed};
use crate::error::{Error, Result};

/// Ids above this are a damaged file: the largest vocabulary of a model we know has 262,144 rows.
pub(super) const ID_MAX: u32 = 1 << 20;

/// What a text model's `tokenizer.json` may be made of. Decoders are those that work from left to right, so that
/// streaming is exact; `Precompiled` normalizers are left out because their parser may panic on a damaged table.
const LLM_STEPS: Steps = Steps {
    model: "BPE",
    prefix: "",
    normalizers: &["Sequence", "Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Lowercase"],
    pre_tokenizers: &["Sequence", "Split", "ByteLevel", "Metaspace", "Digits"],
    decoders: &["Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel", "Metaspace"],
};

/// What BERT's `tokenizer.json` may be made of.
const BERT_STEPS: Steps = Steps {
    model: "WordPiece",
    prefix: "##",
    normalizers: &["BertNormalizer"],
    pre_tokenizers: &["BertPreTokenizer"],
    decoders: &["WordPiece"],
};

struct Steps {
    model: &'static str,
    prefix: &'static str,
    normalizers: &'static [&'static str],
    pre_tokenizers: &'static [&'static str],
    decoders: &'static [&'static str],
}

/// A text model's `tokenizer.json`.
pub(super) struct JsonTokenizer {
    tokenizer: Tokenizer,
    size: usize,
}

impl JsonTokenizer {
    pub fn open(path: &Path) -> Result<Self> {
        let (tokenizer, size) = open_checked(path, &LLM_STEPS)?;
        Ok(Self { tokenizer, size })
    }

    pub fn encode(&self, text: &str, path: &Path) -> Result<Vec<u32>> {
        encode(&self.tokenizer, text, path)
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool, path: &Path) -> Result<String> {
        self.tokenizer.decode(ids, skip_special).map_err(|error| step_failed(path, error))
    }

    pub fn vocab_size(&self) -> usize {
        self.size
    }

    pub fn token_text(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    pub fn is_special(&self, id: u32) -> bool {
        let added = self.tokenizer.get_added_vocabulary();
        self.tokenizer.id_to_token(id).is_some_and(|token| added.is_special_token(&token))
    }

    /// The first id of `text` with the file's own post-processor, which is where a fast tokenizer keeps its BOS.
    pub fn first_id(&self, text: &str) -> Option<u32> {
        let encoding = self.tokenizer.encode_fast(text, true).ok()?;
        encoding.get_ids().first().copied()
    }
}

/// BERT's `tokenizer.json` and its number of rows.
pub(super) fn open_bert(path: &Path) -> Result<(Tokenizer, usize)> {
    open_checked(path, &BERT_STEPS)
}

/// The ids of `text` without the post-processor's tokens.
pub(super) fn encode(tokenizer: &Tokenizer, text: &str, path: &Path) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|error| step_failed(path, error))?;
    Ok(encoding.get_ids().to_vec())
}

/// The parts of the file that are checked before the `tokenizers` crate reads it.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    added_tokens: Vec<AddedId>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    model: ModelOutline,
}

#[derive(Deserialize)]
struct AddedId {
    id: u32,
    content: String,
}

#[derive(Deserialize)]
struct ModelOutline {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

fn open_checked(path: &Path, steps: &Steps) -> Result<(Tokenizer, usize)> {
    let bad = |finding: String| Error::bad_input(path, finding, "download the model's tokenizer.json again");
    let bytes = read_file(path)?;
    let outline: Outline =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("is not a tokenizer.json: {error}")))?;
    check(&outline, steps).map_err(bad)?;
    let mut tokenizer =
        Tokenizer::from_bytes(&bytes).map_err(|error| bad(format!("is not a tokenizer.json: {error}")))?;
    for token in &outline.added_tokens {
        let found = tokenizer.token_to_id(&token.content);
        if found != Some(token.id) {
            let found = found.map_or("none".to_owned(), |id| id.to_string());
            return Err(bad(format!("added token {:?} has id {}, but gets {found}", token.content, token.id)));
        }
    }
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
    let ids = outline.model.vocab.values().copied().chain(outline.added_tokens.iter().map(|token| token.id));
    let size = ids.max().map_or(0, |id| id as usize + 1);
    Ok((tokenizer, size))
}

/// Refuses what the `tokenizers` crate would accept and then panic on, answer at random, or stream wrongly.
fn check(outline: &Outline, steps: &Steps) -> Result<(), String> {
    let model = &outline.model;
    let kind = model.kind.as_deref().unwrap_or(steps.model);
    if kind != steps.model {
        return Err(format!("has a model of type {kind:?}, we run {:?}", steps.model));
    }
    if model.vocab.is_empty() {
        return Err("has an empty vocabulary".to_owned());
    }
    let mut seen = HashSet::new();
    for (token, &id) in &model.vocab {
        if id >= ID_MAX {
            return Err(format!("gives token {token:?} the id {id}, ids are below {ID_MAX}"));
        }
        if !seen.insert(id) {
            return Err(format!("gives the id {id} to two tokens, one of them {token:?}"));
        }
    }
    for token in &outline.added_tokens {
        if token.content.is_empty() || token.id >= ID_MAX {
            return Err(format!("has an added token {:?} with id {}", token.content, token.id));
        }
    }
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err("has dropout set, which makes its ids random".to_owned());
    }
    let prefix = model.continuing_subword_prefix.as_deref().unwrap_or(steps.prefix);
    let suffix = model.end_of_word_suffix.as_deref().unwrap_or("");
    if prefix != steps.prefix || !suffix.is_empty() {
        return Err(format!("marks sub-words with {prefix:?} and {suffix:?}, we run {:?} and \"\"", steps.prefix));
    }
    check_types("normalizer", outline.normalizer.as_ref(), steps.normalizers)?;
    check_types("pre_tokenizer", outline.pre_tokenizer.as_ref(), steps.pre_tokenizers)?;
    check_types("decoder", outline.decoder.as_ref(), steps.decoders)
}

fn check_types(part: &str, value: Option<&Value>, known: &[&str]) -> Result<(), String> {
    match value {
        Some(Value::Object(fields)) => {
            let kind = fields.get("type");
            if let Some(kind) = kind.filter(|kind| !kind.as_str().is_some_and(|kind| known.contains(&kind))) {
                return Err(format!("has a {part} of type {kind}, we run {}", known.join(", ")));
            }
            fields.values().try_for_each(|field| check_types(part, Some(field), known))
        }
        Some(Value::Array(items)) => items.iter().try_for_each(|item| check_types(part, Some(item), known)),
        _ => Ok(()),
    }
}
