//! `tokenizer.json` through the `tokenizers` crate, after a check that it asks only for steps we know.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::{PostProcessorWrapper, Tokenizer};

use super::steps::{self, Part};
use super::{read_file, step_failed};
use crate::error::{Error, Result};
use crate::guard::guarded;

/// Ids above this are a damaged file: the largest vocabulary of a model we know has 262,144 rows.
pub(super) const ID_MAX: u32 = 1 << 20;

/// Longest token, in bytes; runs of blanks in vocabularies of code have 256.
const TOKEN_BYTES_MAX: usize = 1024;
/// Most bytes that the steps may have to hold of one text, at the worst: every byte lengthened by every step. With
/// Phi-3's steps that is a prompt of 349 KB, about 100 000 tokens.
const WORST_BYTES_MAX: usize = 4 << 20;

/// What a text model's `tokenizer.json` may be made of. Decoders are those that work from left to right, so that
/// streaming is exact; `Precompiled` normalizers are left out because their parser may panic on a damaged table.
const LLM_STEPS: Steps = Steps {
    model: "BPE",
    prefix: "",
    normalizer: Part {
        name: "normalizer",
        known: &["Sequence", "Prepend", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Lowercase"],
    },
    pre_tokenizer: Part { name: "pre_tokenizer", known: &["Sequence", "Split", "ByteLevel", "Metaspace", "Digits"] },
    decoder: Part {
        name: "decoder",
        known: &["Sequence", "Replace", "ByteFallback", "Fuse", "Strip", "ByteLevel", "Metaspace"],
    },
};

/// What BERT's `tokenizer.json` may be made of.
const BERT_STEPS: Steps = Steps {
    model: "WordPiece",
    prefix: "##",
    normalizer: Part { name: "normalizer", known: &["BertNormalizer"] },
    pre_tokenizer: Part { name: "pre_tokenizer", known: &["BertPreTokenizer"] },
    decoder: Part { name: "decoder", known: &["WordPiece"] },
};

struct Steps {
    model: &'static str,
    prefix: &'static str,
    normalizer: Part,
    pre_tokenizer: Part,
    decoder: Part,
}

/// How much longer a text may get, by the file's own steps.
#[derive(Clone, Copy)]
struct Growth {
    encode: usize,
    decode: usize,
}

/// A `tokenizer.json`, checked, whose steps cannot panic out of here or outgrow memory.
pub(super) struct JsonTokenizer {
    tokenizer: Tokenizer,
    size: usize,
    growth: Growth,
    first_id: Option<u64>,
}

impl JsonTokenizer {
    /// A text model's.
    pub fn open(path: &Path) -> Result<Self> {
        open_checked(path, &LLM_STEPS)
    }

    /// BERT's.
    pub fn open_bert(path: &Path) -> Result<Self> {
        open_checked(path, &BERT_STEPS)
    }

    /// One made from a list of words, whose steps are ours.
    pub fn made(tokenizer: Tokenizer, size: usize) -> Self {
        Self { tokenizer, size, growth: Growth { encode: 6, decode: 1 }, first_id: None }
    }

    /// The ids of `text` without the post-processor's tokens.
    pub fn encode(&self, text: &str, path: &Path) -> Result<Vec<u32>> {
        check_length(text.len(), self.growth.encode, path)?;
        let encoded = guarded(|| self.tokenizer.encode_fast(text, false));
        let encoding = encoded.ok_or_else(|| step_failed(path, PANICKED))?;
        Ok(encoding.map_err(|error| step_failed(path, error))?.get_ids().to_vec())
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool, path: &Path) -> Result<String> {
        let bytes = ids.iter().filter_map(|&id| self.token_text(id)).map(|token| token.len() + 1).sum();
        check_length(bytes, self.growth.decode, path)?;
        let decoded = guarded(|| self.tokenizer.decode(ids, skip_special));
        decoded.ok_or_else(|| step_failed(path, PANICKED))?.map_err(|error| step_failed(path, error))
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

    /// Whether the file's own post-processor, which is where a fast tokenizer keeps its BOS, puts `id` before a text.
    pub fn begins_with(&self, id: u32) -> bool {
        self.first_id == Some(id.into())
    }
}

/// Stands for the reason of a step that panicked.
const PANICKED: &str = "a step of it cannot go on";

fn check_length(bytes: usize, growth: usize, path: &Path) -> Result<()> {
    let worst = bytes.saturating_mul(growth);
    if worst <= WORST_BYTES_MAX {
        return Ok(());
    }
    let finding = format!("could make {worst} bytes of a text of {bytes}, we hold {WORST_BYTES_MAX}");
    Err(Error::bad_input(path, finding, "give a shorter text"))
}

/// The parts of the file that are checked before the `tokenizers` crate reads it.
#[derive(Deserialize)]
struct Outline {
    #[serde(default)]
    added_tokens: Vec<AddedId>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Option<Value>,
    post_processor: Option<Value>,
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
    max_input_chars_per_word: Option<u64>,
}

fn open_checked(path: &Path, steps: &Steps) -> Result<JsonTokenizer> {
    let bad = |finding: String| Error::bad_input(path, finding, "download the model's tokenizer.json again");
    let bytes = read_file(path)?;
    let outline: Outline =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("is not a tokenizer.json: {error}")))?;
    let growth = check(&outline, steps).map_err(bad)?;
    let read = guarded(|| Tokenizer::from_bytes(&bytes));
    let mut tokenizer = read
        .ok_or_else(|| bad("is not a tokenizer.json".to_owned()))?
        .map_err(|error| bad(format!("is not a tokenizer.json: {error}")))?;
    for token in &outline.added_tokens {
        let found = tokenizer.token_to_id(&token.content);
        if found != Some(token.id) {
            let found = found.map_or("none".to_owned(), |id| id.to_string());
            return Err(bad(format!("added token {:?} has id {}, but gets {found}", token.content, token.id)));
        }
    }
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| bad(error.to_string()))?;
    // Its tokens are not wanted, and a template may repeat the text.
    tokenizer.with_post_processor(None::<PostProcessorWrapper>);
    let first_id = outline.post_processor.as_ref().and_then(steps::first_id);
    let ids = outline.model.vocab.values().copied().chain(outline.added_tokens.iter().map(|token| token.id));
    let size = ids.max().map_or(0, |id| id as usize + 1);
    Ok(JsonTokenizer { tokenizer, size, growth, first_id })
}

/// Refuses what the `tokenizers` crate would accept and then panic on, grow by, answer at random, or stream wrongly.
fn check(outline: &Outline, steps: &Steps) -> Result<Growth, String> {
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
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("has a token of {} bytes, at most {TOKEN_BYTES_MAX} are read", token.len()));
        }
    }
    for token in &outline.added_tokens {
        if token.content.is_empty() || token.content.len() > TOKEN_BYTES_MAX || token.id >= ID_MAX {
            return Err(format!("has an added token {:.80?} with id {}", token.content, token.id));
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
    if model.max_input_chars_per_word.is_some_and(|chars| chars > steps::WORD_CHARS_MAX) {
        return Err(format!("looks at words of more than {} characters", steps::WORD_CHARS_MAX));
    }
    let normalizer = steps.normalizer.growth(outline.normalizer.as_ref())?;
    // Added tokens go through the normalizer when the file is read.
    let added: usize = outline.added_tokens.iter().map(|token| token.content.len()).sum();
    if added.saturating_mul(normalizer) > WORST_BYTES_MAX {
        return Err(format!(
            "has added tokens of {added} bytes, of which its normalizer could make {normalizer} times"
        ));
    }
    let encode = normalizer.saturating_mul(steps.pre_tokenizer.growth(outline.pre_tokenizer.as_ref())?);
    Ok(Growth { encode, decode: steps.decoder.growth(outline.decoder.as_ref())? })
}
