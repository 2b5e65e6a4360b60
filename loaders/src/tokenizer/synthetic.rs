//! Tokenizers made from nothing, for checkpoints with random weights: the real ones are not ours to give away.
//!
//! The LLM's has the form of Llama's and Phi-3's (`▁` for spaces, bytes as the last resort), so any text goes in and
//! comes back; BERT's is a WordPiece vocabulary. The same call writes the same bytes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// `<unk>`, `<s>` and `</s>` have ids 0, 1 and 2, as in Llama's vocabulary.
const CONTROL: [&str; 3] = ["<unk>", "<s>", "</s>"];
/// Rows of the tiny vocabulary before its added token.
const TINY_ROWS: usize = 511;
/// Phi-3's rows before its added tokens.
const RELEASED_ROWS: usize = 32_000;
/// BERT-base's rows.
const RELEASED_BERT_ROWS: usize = 30_522;
const END: &str = "<|endoftext|>";
/// What follows `<|endoftext|>` in Phi-3's vocabulary; these swallow whitespace on their right.
const PHI_ADDED: [&str; 10] = [
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
];

/// Writes `tokenizer.json` and `tokenizer_config.json` of at most 512 tokens, with merges learnt from `texts`; the
/// last id is `<|endoftext|>`, which ends an answer. Answers the number of tokens.
///
/// # Errors
/// The folder cannot be written.
pub fn write_tiny_llm_tokenizer(dir: &Path, texts: &[&str]) -> Result<usize> {
    let mut vocabulary = Vocabulary::new();
    vocabulary.learn(texts, TINY_ROWS);
    vocabulary.write(dir, &[])
}

/// As [`write_tiny_llm_tokenizer`], with Phi-3's 32,000 rows and 11 added tokens at Phi-3's ids. What `texts` do not
/// fill is filled with all two- and three-letter combinations.
///
/// # Errors
/// The folder cannot be written.
pub fn write_released_llm_tokenizer(dir: &Path, texts: &[&str]) -> Result<usize> {
    let mut vocabulary = Vocabulary::new();
    vocabulary.learn(texts, RELEASED_ROWS);
    vocabulary.fill(RELEASED_ROWS);
    vocabulary.write(dir, &PHI_ADDED)
}

/// Writes a `vocab.txt` of letters, digits and punctuation, `[PAD]` at 0. Answers the number of tokens.
///
/// # Errors
/// The folder cannot be written.
pub fn write_tiny_bert_vocab(dir: &Path) -> Result<usize> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    write_bert_vocab(dir, special.into_iter().chain(bert_characters()).collect())
}

/// Writes a `vocab.txt` of 30,522 lines with BERT-base's special tokens at their ids (`[CLS]` 101, `[SEP]` 102).
///
/// # Errors
/// The folder cannot be written.
pub fn write_released_bert_vocab(dir: &Path) -> Result<usize> {
    let unused = (0..99).map(|index| format!("[unused{index}]"));
    let special = ["[UNK]", "[CLS]", "[SEP]", "[MASK]"].map(str::to_owned);
    let start = std::iter::once("[PAD]".to_owned()).chain(unused).chain(special).chain(bert_characters());
    let words = letter_pairs().map(|(a, b)| format!("{a}{b}"));
    let words = words.chain(letter_pairs().flat_map(|(a, b)| letters().map(move |c| format!("{a}{b}{c}"))));
    let both = words.flat_map(|word| [format!("##{word}"), word]);
    write_bert_vocab(dir, start.chain(both).take(RELEASED_BERT_ROWS).collect())
}

/// Base vocabulary and merges; a merge is two token texts whose join is a token.
struct Vocabulary {
    tokens: Vec<String>,
    known: HashSet<String>,
    merges: Vec<(String, String)>,
}

impl Vocabulary {
    fn new() -> Self {
        let bytes = (0..=255u8).map(|byte| format!("<0x{byte:02X}>"));
        let characters = std::iter::once('▁').chain('!'..='~').map(String::from);
        let tokens: Vec<_> = CONTROL.map(str::to_owned).into_iter().chain(bytes).chain(characters).collect();
        Self { known: tokens.iter().cloned().collect(), tokens, merges: Vec::new() }
    }

    fn merge(&mut self, left: &str, right: &str) {
        let joined = format!("{left}{right}");
        if self.known.insert(joined.clone()) {
            self.tokens.push(joined);
            self.merges.push((left.to_owned(), right.to_owned()));
        }
    }

    /// Byte pair encoding: joins the most frequent neighbours, of equally frequent ones the first in the alphabet,
    /// until there are `rows` tokens or nothing occurs twice. Words never join across a space.
    fn learn(&mut self, texts: &[&str], rows: usize) {
        let mut words: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for word in texts.iter().flat_map(|text| text.split_whitespace()) {
            let characters = std::iter::once('▁').chain(word.chars()).map(String::from);
            let characters: Vec<_> = characters.filter(|character| self.known.contains(character)).collect();
            *words.entry(characters).or_default() += 1;
        }
        while self.tokens.len() < rows {
            let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for (word, count) in &words {
                for pair in word.windows(2) {
                    *counts.entry((&pair[0], &pair[1])).or_default() += count;
                }
            }
            let unseen = counts.into_iter().filter(|((a, b), _)| !self.known.contains(&format!("{a}{b}")));
            let Some(((left, right), count)) = unseen.rev().max_by_key(|&(_, count)| count) else { return };
            if count < 2 {
                return;
            }
            let left = left.to_owned();
            let right = right.to_owned();
            self.merge(&left, &right);
            words = words.into_iter().map(|(word, count)| (join(word, &left, &right), count)).collect();
        }
    }

    fn fill(&mut self, rows: usize) {
        let pairs = letter_pairs().map(|(a, b)| (a.to_string(), b.to_string()));
        let starts = letters().map(|a| ("▁".to_owned(), a.to_string()));
        let start_pairs = letter_pairs().map(|(a, b)| (format!("▁{a}"), b.to_string()));
        let triples = letter_pairs().flat_map(|(a, b)| letters().map(move |c| (format!("{a}{b}"), c.to_string())));
        let start_triples =
            letter_pairs().flat_map(|(a, b)| letters().map(move |c| (format!("▁{a}{b}"), c.to_string())));
        for (left, right) in pairs.chain(starts).chain(start_pairs).chain(triples).chain(start_triples) {
            if self.tokens.len() >= rows {
                return;
            }
            self.merge(&left, &right);
        }
    }

    fn write(self, dir: &Path, added: &[&str]) -> Result<usize> {
        let base = self.tokens.len();
        let token = |id: usize, content: &str, special: bool, rstrip: bool| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": rstrip,
                   "normalized": false, "special": special})
        };
        let control = CONTROL.iter().enumerate().map(|(id, content)| token(id, content, true, false));
        let end = std::iter::once(token(base, END, true, false));
        let rest = added.iter().enumerate().map(|(index, content)| token(base + 1 + index, content, true, true));
        let added_tokens: Vec<Value> = control.chain(end).chain(rest).collect();
        let vocab: Map<_, _> = self.tokens.into_iter().enumerate().map(|(id, text)| (text, json!(id))).collect();
        let merges: Vec<_> = self.merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        let space = json!({"String": " "});
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added_tokens,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": space, "content": "▁"}]},
            "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
                {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab, "merges": merges},
        });
        let config = json!({
            "tokenizer_class": "LlamaTokenizer", "legacy": false, "add_bos_token": false, "add_eos_token": false,
            "bos_token": "<s>", "eos_token": END, "unk_token": "<unk>", "pad_token": END,
            "clean_up_tokenization_spaces": false,
        });
        write_file(dir, "tokenizer.json", &format!("{tokenizer:#}\n"))?;
        write_file(dir, "tokenizer_config.json", &format!("{config:#}\n"))?;
        Ok(base + 1 + added.len())
    }
}

fn join(word: Vec<String>, left: &str, right: &str) -> Vec<String> {
    let mut joined: Vec<String> = Vec::with_capacity(word.len());
    let mut last_is_join = false;
    for part in word {
        match joined.last_mut() {
            Some(last) if !last_is_join && last == left && part == right => {
                last.push_str(&part);
                last_is_join = true;
            }
            _ => {
                joined.push(part);
                last_is_join = false;
            }
        }
    }
    joined
}

fn letters() -> impl Iterator<Item = char> + Clone {
    'a'..='z'
}

fn letter_pairs() -> impl Iterator<Item = (char, char)> {
    letters().flat_map(|a| letters().map(move |b| (a, b)))
}

/// Printable ASCII without capitals, then letters and digits inside a word.
fn bert_characters() -> impl Iterator<Item = String> {
    let alone = ('!'..='~').filter(|character| !character.is_ascii_uppercase()).map(String::from);
    alone.chain(('0'..='9').chain(letters()).map(|character| format!("##{character}")))
}

fn write_bert_vocab(dir: &Path, tokens: Vec<String>) -> Result<usize> {
    write_file(dir, "vocab.txt", &(tokens.join("\n") + "\n"))?;
    Ok(tokens.len())
}

fn write_file(dir: &Path, name: &str, content: &str) -> Result<()> {
    fs::create_dir_all(dir).map_err(|source| Error::io(dir, "create", source))?;
    let path = dir.join(name);
    fs::write(&path, content).map_err(|source| Error::io(&path, "write", source))
}
