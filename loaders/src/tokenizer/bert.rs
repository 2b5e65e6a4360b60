//! The uncased BERT tokenizer that reads the question for TG-IS: `[CLS]` text `[SEP]`, cut to the model's positions.

use std::path::{Path, PathBuf};

use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::{AddedToken, Tokenizer};

use super::json::JsonTokenizer;
use super::read_file;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::files;

/// The official code pads and cuts every question to this many tokens, whatever the model could hold.
const TOKENS_MAX: usize = 512;
const SPECIAL_TOKENS: [&str; 5] = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];

/// `tokenizer.json` or `vocab.txt` of a BERT.
///
/// One known difference to transformers' slow tokenizer: it drops code points that Unicode has not assigned (by the
/// tables of the Python that runs it); here, as with its fast tokenizer, such a character makes its word `[UNK]`.
pub struct BertTokenizer {
    tokenizer: JsonTokenizer,
    path: PathBuf,
    start: u32,
    end: u32,
}

impl BertTokenizer {
    /// Reads `tokenizer.json`, or `vocab.txt` when there is no JSON, of `vision3d_dir`.
    ///
    /// # Errors
    /// Neither file is there, or the file is malformed, not a WordPiece vocabulary, or without BERT's special tokens.
    pub fn open(vision3d_dir: &Path) -> Result<Self> {
        let json = vision3d_dir.join("tokenizer.json");
        let vocab = vision3d_dir.join("vocab.txt");
        let (tokenizer, path) = if files::exists(&json)? {
            (JsonTokenizer::open_bert(&json)?, json)
        } else if files::exists(&vocab)? {
            let lower_case = Settings::read(vision3d_dir)?.do_lower_case.unwrap_or(true);
            (open_vocab(&vocab, lower_case)?, vocab)
        } else {
            let finding = "holds neither tokenizer.json nor vocab.txt, which the question for TG-IS needs";
            return Err(Error::bad_input(vision3d_dir, finding, "copy vocab.txt of bert-base-uncased there"));
        };
        let find = |token: &str| {
            tokenizer.token_id(token).ok_or_else(|| {
                Error::bad_input(&path, format!("has no token {token}"), "use vocab.txt of bert-base-uncased")
            })
        };
        let start = find("[CLS]")?;
        let end = find("[SEP]")?;
        find("[UNK]")?;
        Ok(Self { tokenizer, path, start, end })
    }

    /// `[CLS]`, the ids of `text`, `[SEP]`: at most `max_positions` and at most 512 ids, cut before `[SEP]`.
    ///
    /// # Errors
    /// `max_positions` is less than the two special tokens, or the tokenizer file's own step fails on this text.
    pub fn encode(&self, text: &str, max_positions: usize) -> Result<Vec<u32>> {
        if max_positions < 2 {
            let finding = format!("puts 2 special tokens around a question, but BERT has {max_positions} positions");
            return Err(Error::bad_input(&self.path, finding, "use a BERT with more positions"));
        }
        let mut ids = vec![self.start];
        ids.extend(self.tokenizer.encode(text, &self.path)?);
        ids.truncate(max_positions.min(TOKENS_MAX) - 1);
        ids.push(self.end);
        Ok(ids)
    }

    /// One more than the highest id: the fewest embedding rows that fit.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.vocab_size()
    }
}

/// A vocabulary with one token per line; its id is its line, counted from 0.
fn open_vocab(path: &Path, lower_case: bool) -> Result<JsonTokenizer> {
    let bad = |finding: String| Error::bad_input(path, finding, "use vocab.txt of bert-base-uncased");
    let text = String::from_utf8(read_file(path)?).map_err(|error| bad(format!("is not UTF-8 text: {error}")))?;
    let mut vocab = tokenizers::models::bpe::Vocab::new();
    let text = text.strip_suffix('\n').unwrap_or(&text);
    for (id, line) in (0u32..).zip(text.split('\n')) {
        let token = line.strip_suffix('\r').unwrap_or(line);
        if token.is_empty() {
            return Err(bad(format!("line {} is empty", id + 1)));
        }
        if vocab.insert(token.to_owned(), id).is_some() {
            return Err(bad(format!("line {} holds {token:?} a second time", id + 1)));
        }
    }
    let size = vocab.len();
    let known: Vec<_> = SPECIAL_TOKENS.iter().filter(|&&token| vocab.contains_key(token)).collect();
    let special: Vec<_> = known.into_iter().map(|&token| AddedToken::from(token, true)).collect();
    let model = WordPiece::builder().vocab(vocab).unk_token("[UNK]".to_owned()).build();
    let mut tokenizer = Tokenizer::new(model.map_err(|error| bad(format!("is not a vocabulary: {error}")))?);
    tokenizer.with_normalizer(Some(BertNormalizer::new(true, true, None, lower_case)));
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    tokenizer.add_special_tokens(&special);
    Ok(JsonTokenizer::made(tokenizer, size))
}
