//! The slow Llama tokenizer: added tokens split off, one dummy `▁` per text, SentencePiece BPE on what is left.
//!
//! Follows transformers' slow `LlamaTokenizer` step by step, both `legacy` modes, so that its ids and its decoded text
//! are reproduced to the last space.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use tokenizers::Model;

use super::json::ID_MAX;
use super::sentencepiece::{Piece, PieceKind, PieceModel, byte_of};
use super::settings::{AddedToken, Settings};
use super::{is_space, step_failed};
use crate::error::{Error, Result};

/// SentencePiece's visible space.
const SPACE: char = '▁';

/// A `tokenizer.model` with its added tokens.
pub(super) struct PieceTokenizer {
    model: PieceModel,
    ids: HashMap<String, u32>,
    /// By id.
    added: BTreeMap<u32, AddedToken>,
    special: HashSet<u32>,
    /// A dummy prefix before every stretch of text, not only before the first.
    legacy: bool,
    add_prefix_space: bool,
}

/// A stretch of the text: an added token, or text for the model.
enum Part<'a> {
    Added(&'a AddedToken),
    Text(&'a str),
}

impl PieceTokenizer {
    pub fn open(path: &Path, settings: &Settings) -> Result<Self> {
        let model = PieceModel::open(path)?;
        let mut ids: HashMap<String, u32> = (0u32..).zip(&model.pieces).map(|(id, p)| (p.text.clone(), id)).collect();
        let mut added = BTreeMap::new();
        for token in settings.added_tokens(|text| ids.get(text).copied()) {
            let piece = model.pieces.get(token.id as usize);
            if token.id >= ID_MAX || piece.is_some_and(|piece| piece.text != token.content) {
                let found = piece.map_or("nothing", |piece| piece.text.as_str());
                let finding = format!("id {} is {found:?}, but added token {:?} claims it", token.id, token.content);
                return Err(Error::bad_input(path, finding, "use the tokenizer files of one model"));
            }
            ids.insert(token.content.clone(), token.id);
            added.insert(token.id, token);
        }
        let special = settings.special_texts().filter_map(|text| ids.get(text).copied()).collect();
        let legacy = settings.legacy.unwrap_or(true);
        let add_prefix_space = settings.add_prefix_space.unwrap_or(true);
        Ok(Self { model, ids, added, special, legacy, add_prefix_space })
    }

    pub fn vocab_size(&self) -> usize {
        let added = self.added.last_key_value().map_or(0, |(&id, _)| id as usize + 1);
        added.max(self.model.pieces.len())
    }

    pub fn token_text(&self, id: u32) -> Option<&str> {
        let piece = || self.model.pieces.get(id as usize).map(|piece| piece.text.as_str());
        self.added.get(&id).map(|token| token.content.as_str()).or_else(piece)
    }

    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    pub fn encode(&self, text: &str, path: &Path) -> Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let prefixed = match (self.legacy, self.add_prefix_space) {
            (true, _) => text.to_owned(),
            (false, true) => format!("{SPACE}{}", text.replace(SPACE, " ")),
            (false, false) => text.replace(SPACE, " "),
        };
        let mut ids = Vec::new();
        for part in self.split(&prefixed) {
            match part {
                Part::Added(token) => ids.push(token.id),
                Part::Text(text) => self.encode_text(text, &mut ids, path)?,
            }
        }
        // The dummy prefix alone before a special token is dropped; before an added token that is not special it stays.
        let dummy = self.ids.get("▁").copied();
        if !self.legacy && ids.len() > 1 && Some(ids[0]) == dummy && self.special.contains(&ids[1]) {
            ids.remove(0);
        }
        Ok(ids)
    }

    fn encode_text(&self, text: &str, ids: &mut Vec<u32>, path: &Path) -> Result<()> {
        let mut escaped = text.replace(' ', "▁");
        if self.legacy {
            escaped.insert(0, SPACE);
        }
        let tokens = self.model.bpe.tokenize(&escaped).map_err(|error| step_failed(path, error))?;
        ids.extend(tokens.iter().map(|token| token.id));
        Ok(())
    }

    /// Cuts `text` at its added tokens, leftmost and longest first, and strips around those that ask for it.
    fn split<'a>(&'a self, text: &'a str) -> Vec<Part<'a>> {
        let mut parts = Vec::new();
        let mut start = 0;
        let mut at = 0;
        let mut strip_next = false;
        while at < text.len() {
            let rest = &text[at..];
            let longest = self.added.values().filter(|token| rest.starts_with(&token.content));
            if let Some(token) = longest.max_by_key(|token| token.content.len()) {
                Self::push_text(&mut parts, &text[start..at], strip_next, token.lstrip);
                parts.push(Part::Added(token));
                strip_next = token.rstrip;
                at += token.content.len();
                start = at;
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        Self::push_text(&mut parts, &text[start..], strip_next, false);
        parts
    }

    fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str, strip_start: bool, strip_end: bool) {
        let text = if strip_start { text.trim_start_matches(is_space) } else { text };
        let text = if strip_end { text.trim_end_matches(is_space) } else { text };
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
    }

    /// Stretches between added tokens are decoded one by one and joined with spaces, as transformers joins them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut texts: Vec<String> = Vec::new();
        let mut stretch: Vec<u32> = Vec::new();
        for &id in ids {
            if (skip_special && self.is_special(id)) || self.token_text(id).is_none() {
                continue;
            }
            match self.added.get(&id) {
                Some(token) if !self.is_special(id) => {
                    texts.extend(Some(self.decode_stretch(&stretch)).filter(|text| !text.is_empty()));
                    stretch.clear();
                    texts.push(token.content.clone());
                }
                _ => stretch.push(id),
            }
        }
        if !stretch.is_empty() {
            texts.push(self.decode_stretch(&stretch));
        }
        texts.join(" ")
    }

    /// One stretch: special tokens by name, the runs between them through SentencePiece's rules; the first `▁` is
    /// dropped. Legacy mode puts a space before a run that ends at a special token, as transformers does.
    fn decode_stretch(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut run = Run { strip: self.legacy, ..Run::default() };
        let mut special_before = false;
        for (index, &id) in ids.iter().enumerate() {
            let token = self.token_text(id).unwrap_or_default();
            if self.is_special(id) {
                if self.legacy && !special_before && index != 0 {
                    text.push(' ');
                }
                text.push_str(&run.finish());
                text.push_str(token);
                run = Run { strip: self.legacy, ..Run::default() };
                special_before = true;
                continue;
            }
            if special_before && index == 1 && self.add_prefix_space && !token.starts_with(SPACE) {
                text.push(' ');
            }
            special_before = false;
            if let Some(piece) = self.model.pieces.get(id as usize) {
                run.push(piece, index == 0 && self.add_prefix_space);
            }
        }
        text.push_str(&run.finish());
        text
    }
}

/// Pieces on their way to text by SentencePiece's rules.
#[derive(Default)]
struct Run {
    text: String,
    /// Byte pieces whose characters may not be complete.
    bytes: Vec<u8>,
    /// Drop the next piece's `▁`: in legacy mode SentencePiece holds the dummy prefix to be its own.
    strip: bool,
}

impl Run {
    fn push(&mut self, piece: &Piece, drop_first: bool) {
        if let Some(byte) = byte_of(&piece.text) {
            self.bytes.push(byte);
            self.strip = false;
            return;
        }
        push_bytes(&mut self.text, &mut self.bytes);
        match piece.kind {
            PieceKind::Control => {}
            PieceKind::Unknown => self.text.push_str(" \u{2047} "),
            PieceKind::Normal | PieceKind::Byte => {
                let mut rest = piece.text.as_str();
                if drop_first {
                    rest = rest.strip_prefix(SPACE).unwrap_or(rest);
                }
                if self.strip && !rest.is_empty() {
                    rest = rest.strip_prefix(SPACE).unwrap_or(rest);
                    self.strip = false;
                }
                self.text.push_str(&rest.replace(SPACE, " "));
            }
        }
    }

    fn finish(mut self) -> String {
        push_bytes(&mut self.text, &mut self.bytes);
        self.text
    }
}

/// Appends the collected bytes as text; each byte that is not part of a character becomes U+FFFD.
fn push_bytes(text: &mut String, bytes: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    bytes.clear();
}
