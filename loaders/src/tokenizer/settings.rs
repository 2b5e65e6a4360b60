//! What `tokenizer_config.json` and its small companions say: special tokens, added tokens, BOS, legacy mode.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::read_file;
use crate::error::{Error, Result};
use crate::files;

/// Most added tokens, each of which is looked for everywhere in a text; Gemma, which has the most, adds 249.
const ADDED_MAX: usize = 4096;

/// A token that is matched in the text before the model sees it.
#[derive(Clone, Debug)]
pub(super) struct AddedToken {
    pub id: u32,
    pub content: String,
    /// Swallows whitespace on its left.
    pub lstrip: bool,
    /// Swallows whitespace on its right.
    pub rstrip: bool,
}

/// The merged settings of one folder; absent files leave the defaults.
#[derive(Default)]
pub(super) struct Settings {
    pub add_bos_token: Option<bool>,
    pub add_prefix_space: Option<bool>,
    pub do_lower_case: Option<bool>,
    pub legacy: Option<bool>,
    class: Option<String>,
    special: SpecialTokens,
    added: Vec<AddedToken>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    add_bos_token: Option<bool>,
    add_prefix_space: Option<bool>,
    do_lower_case: Option<bool>,
    legacy: Option<bool>,
    tokenizer_class: Option<String>,
    added_tokens_decoder: BTreeMap<u32, FullToken>,
    #[serde(flatten)]
    special: SpecialTokens,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SpecialTokens {
    bos_token: Option<SpecialToken>,
    eos_token: Option<SpecialToken>,
    unk_token: Option<SpecialToken>,
    pad_token: Option<SpecialToken>,
    additional_special_tokens: Option<Vec<SpecialToken>>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum SpecialToken {
    Text(String),
    Full(FullToken),
}

#[derive(Deserialize, Clone, Default)]
#[serde(default)]
struct FullToken {
    content: String,
    lstrip: bool,
    rstrip: bool,
    single_word: bool,
}

impl Settings {
    /// Reads the three optional files of `dir`.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer_config.json");
        let config: Config = read_json(&path)?.unwrap_or_default();
        let map: SpecialTokens = read_json(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
        let extra: BTreeMap<String, u32> = read_json(&dir.join("added_tokens.json"))?.unwrap_or_default();
        let mut added = Vec::new();
        for (id, token) in config.added_tokens_decoder {
            if token.single_word {
                let finding = format!("added token {:?} has single_word set, which is not run", token.content);
                return Err(Error::bad_input(&path, finding, "use a tokenizer without such tokens"));
            }
            added.push(AddedToken { id, content: token.content, lstrip: token.lstrip, rstrip: token.rstrip });
        }
        for (content, id) in extra {
            if added.iter().all(|token| token.id != id && token.content != content) {
                added.push(AddedToken { id, content, lstrip: false, rstrip: false });
            }
        }
        added.retain(|token| !token.content.is_empty());
        if added.len() > ADDED_MAX {
            let finding = format!("has {} added tokens, we run at most {ADDED_MAX}", added.len());
            return Err(Error::bad_input(&path, finding, "use the model's own tokenizer files"));
        }
        Ok(Self {
            add_bos_token: config.add_bos_token,
            add_prefix_space: config.add_prefix_space,
            do_lower_case: config.do_lower_case,
            legacy: config.legacy,
            class: config.tokenizer_class,
            special: config.special.or(map),
            added,
        })
    }

    pub fn bos(&self) -> Option<&str> {
        self.special.bos_token.as_ref().map(SpecialToken::content)
    }

    pub fn eos(&self) -> Option<&str> {
        self.special.eos_token.as_ref().map(SpecialToken::content)
    }

    /// Whether transformers loads this folder with a Llama tokenizer, which adds BOS unless told not to.
    pub fn is_llama(&self) -> bool {
        self.class.as_ref().is_some_and(|class| class.starts_with("LlamaTokenizer"))
    }

    /// Every special token's text (transformers' `all_special_tokens`).
    pub fn special_texts(&self) -> impl Iterator<Item = &str> {
        self.special.all().map(SpecialToken::content)
    }

    /// The added tokens, and as transformers does, the special tokens that are not among them, with the ids that
    /// `find` gives.
    pub fn added_tokens(&self, find: impl Fn(&str) -> Option<u32>) -> Vec<AddedToken> {
        let mut added = self.added.clone();
        for token in self.special.all() {
            let (content, full) = match token {
                SpecialToken::Text(content) => (content, FullToken::default()),
                SpecialToken::Full(full) => (&full.content, full.clone()),
            };
            if let (true, Some(id)) = (added.iter().all(|known| known.content != *content), find(content)) {
                added.push(AddedToken { id, content: content.clone(), lstrip: full.lstrip, rstrip: full.rstrip });
            }
        }
        added
    }
}

impl SpecialTokens {
    fn all(&self) -> impl Iterator<Item = &SpecialToken> {
        let named = [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token].into_iter().flatten();
        named.chain(self.additional_special_tokens.iter().flatten()).filter(|token| !token.content().is_empty())
    }

    fn or(self, other: Self) -> Self {
        Self {
            bos_token: self.bos_token.or(other.bos_token),
            eos_token: self.eos_token.or(other.eos_token),
            unk_token: self.unk_token.or(other.unk_token),
            pad_token: self.pad_token.or(other.pad_token),
            additional_special_tokens: self.additional_special_tokens.or(other.additional_special_tokens),
        }
    }
}

impl SpecialToken {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) => content,
            Self::Full(full) => &full.content,
        }
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    if !files::exists(path)? {
        return Ok(None);
    }
    let value = serde_json::from_slice(&read_file(path)?);
    value
        .map(Some)
        .map_err(|error| Error::bad_input(path, format!("is not what it should be: {error}"), "download it again"))
}
