//! Text to token ids and back, exactly as transformers does it for the same files.
//!
//! Which ids, where transformers itself has two answers: Med-2E3's official code uses the slow (SentencePiece)
//! tokenizer, and its checkpoint folder holds that tokenizer's `tokenizer.model`. A folder with `tokenizer.model` alone
//! therefore gives the slow ids. A folder with `tokenizer.json` gives what transformers makes of that file, the fast
//! ids. The two differ only next to an added token inside the text (`<|endoftext|>` between turns, `<|user|>` typed by
//! a user): the slow tokenizer puts its dummy `▁` once per text, the fast one after every added token too. Remove
//! `tokenizer.json` from a folder that holds both to get the official code's ids there.

mod bert;
mod json;
mod pieces;
mod sentencepiece;
mod settings;
mod steps;
mod stream;
mod synthetic;

use std::path::{Path, PathBuf};

pub use bert::BertTokenizer;
pub use stream::DecodeStream;
pub use synthetic::{
    write_released_bert_vocab, write_released_llm_tokenizer, write_tiny_bert_vocab, write_tiny_llm_tokenizer,
};

use crate::error::{Error, Result};
use crate::files;
use json::JsonTokenizer;
use pieces::PieceTokenizer;
use settings::Settings;

/// No tokenizer file we run is larger; Qwen's `tokenizer.json` has 7 MB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The LLM's tokenizer, from `tokenizer.json` or else `tokenizer.model`.
pub struct LlmTokenizer {
    kind: Kind,
    path: PathBuf,
    bos: Option<u32>,
    eos: Option<u32>,
}

enum Kind {
    Json(Box<JsonTokenizer>),
    Pieces(Box<PieceTokenizer>),
}

impl LlmTokenizer {
    /// Reads the tokenizer of `model_dir`: `tokenizer.json`, or `tokenizer.model` when there is no JSON, with
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` where present.
    ///
    /// # Errors
    /// A missing, unreadable or malformed file, or one that asks for a tokenizer that we do not run.
    pub fn open(model_dir: &Path) -> Result<Self> {
        let settings = Settings::read(model_dir)?;
        let json = model_dir.join("tokenizer.json");
        let model = model_dir.join("tokenizer.model");
        let (kind, path) = if files::exists(&json)? {
            (Kind::Json(Box::new(JsonTokenizer::open(&json)?)), json)
        } else if files::exists(&model)? {
            (Kind::Pieces(Box::new(PieceTokenizer::open(&model, &settings)?)), model)
        } else {
            let finding = "holds neither tokenizer.json nor tokenizer.model";
            return Err(Error::bad_input(model_dir, finding, "copy the LLM's tokenizer files there"));
        };
        let mut tokenizer = Self { kind, path, bos: None, eos: None };
        tokenizer.eos = settings.eos().and_then(|token| tokenizer.token_id(token));
        tokenizer.bos = tokenizer.find_bos(&settings)?;
        Ok(tokenizer)
    }

    /// The ids of `text` without BOS. Text is not split: chunks around an image are the caller's.
    ///
    /// # Errors
    /// Only if the tokenizer file describes a step that fails on this text.
    pub fn encode_chunk(&self, text: &str) -> Result<Vec<u32>> {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.encode(text, &self.path),
            Kind::Pieces(tokenizer) => tokenizer.encode(text, &self.path),
        }
    }

    /// The BOS id if this tokenizer puts one before a text, `None` if it does not.
    pub fn adds_bos(&self) -> Option<u32> {
        self.bos
    }

    /// The text of `ids`; special tokens are left out if `skip_special`. Ids without a token are left out.
    /// Spaces before punctuation stay (transformers' `clean_up_tokenization_spaces` false, as Phi-3's files say).
    ///
    /// # Errors
    /// Only if the tokenizer file describes a step that fails on these ids.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.decode(ids, skip_special, &self.path),
            Kind::Pieces(tokenizer) => Ok(tokenizer.decode(ids, skip_special)),
        }
    }

    /// One more than the highest id, added tokens included: the fewest embedding rows that fit.
    pub fn vocab_size(&self) -> usize {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.vocab_size(),
            Kind::Pieces(tokenizer) => tokenizer.vocab_size(),
        }
    }

    /// The id that ends an answer, as `tokenizer_config.json` names it.
    pub fn eos_token_id(&self) -> Option<u32> {
        self.eos
    }

    /// The token of `id` as the vocabulary spells it (`▁lung`, `<0x0A>`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.token_text(id),
            Kind::Pieces(tokenizer) => tokenizer.token_text(id).map(str::to_owned),
        }
    }

    /// The id of exactly this token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.token_id(token),
            Kind::Pieces(tokenizer) => tokenizer.token_id(token),
        }
    }

    /// Whether `decode(.., true)` leaves `id` out.
    pub fn is_special(&self, id: u32) -> bool {
        match &self.kind {
            Kind::Json(tokenizer) => tokenizer.is_special(id),
            Kind::Pieces(tokenizer) => tokenizer.is_special(id),
        }
    }

    fn find_bos(&self, settings: &Settings) -> Result<Option<u32>> {
        let named = settings.bos();
        let id = named.and_then(|token| self.token_id(token));
        let adds = match (settings.add_bos_token, &self.kind) {
            (Some(adds), _) => adds,
            (None, Kind::Pieces(_)) => true,
            (None, Kind::Json(_)) if settings.is_llama() => true,
            (None, Kind::Json(tokenizer)) => id.is_some_and(|id| tokenizer.begins_with(id)),
        };
        match (adds, named, id) {
            (false, ..) | (true, None, _) => Ok(None),
            (true, Some(_), Some(id)) => Ok(Some(id)),
            (true, Some(token), None) => {
                let finding = format!("has no token {token:?}, which tokenizer_config.json names as bos_token");
                Err(Error::bad_input(&self.path, finding, "use the two files of one model"))
            }
        }
    }
}

/// Python's `str.strip`, which the official code applies to questions and answers.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.isspace`, which counts four separators that Rust does not.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// The whole of a tokenizer file, refused above [`FILE_BYTES_MAX`].
fn read_file(path: &Path) -> Result<Vec<u8>> {
    files::read(path, FILE_BYTES_MAX)
}

/// An error about a step of the tokenizer at `path` that failed on some text.
fn step_failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::bad_input(path, format!("cannot tokenise this text ({reason})"), "download the tokenizer again")
}
