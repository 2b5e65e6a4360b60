//! Detokenisation token by token, for streaming: the pieces add up to what `decode` makes of all ids.

use super::LlmTokenizer;
use super::sentencepiece::byte_of;
use crate::error::Result;
use std::ops::Deref;

/// Ids before the unsent ones that are decoded along with them. A decoder's rules for the start of a text reach two
/// tokens far; with more than that as context, they do the same with and without the unsent ids and cancel.
const CONTEXT: usize = 4;

/// Turns ids into text as they come.
///
/// Text is held back while it could still change: a run of byte tokens until the run ends, and U+FFFD at the end until
/// another token shows that no more bytes of that character follow. Only a legacy SentencePiece tokenizer that does not
/// skip special tokens differs: its `decode` puts a space before text that has been sent.
pub struct DecodeStream<T> {
    tokenizer: T,
    skip_special: bool,
    /// Up to [`CONTEXT`] ids whose text is sent, then the ids whose text is not.
    ids: Vec<u32>,
    sent: usize,
}

impl<T: Deref<Target = LlmTokenizer>> DecodeStream<T> {
    /// A stream at the start of a text; the tokenizer is borrowed or shared.
    pub fn new(tokenizer: T, skip_special: bool) -> Self {
        Self { tokenizer, skip_special, ids: Vec::new(), sent: 0 }
    }

    /// Takes the next id; answers the text that is certain now, if there is any.
    ///
    /// # Errors
    /// As [`LlmTokenizer::decode`].
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        let Some(token) = self.tokenizer.token_text(id) else { return Ok(None) };
        if self.skip_special && self.tokenizer.is_special(id) {
            return Ok(None);
        }
        self.ids.push(id);
        if byte_of(&token).is_some() {
            return Ok(None);
        }
        let text = self.unsent()?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        self.mark_sent();
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The text still held back. Afterwards the stream is at the start of a text again.
    ///
    /// # Errors
    /// As [`LlmTokenizer::decode`].
    pub fn flush(&mut self) -> Result<Option<String>> {
        let text = self.unsent()?;
        self.ids.clear();
        self.sent = 0;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn unsent(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.sent], self.skip_special)?;
        let mut text = self.tokenizer.decode(&self.ids, self.skip_special)?;
        Ok(if text.is_char_boundary(before.len()) { text.split_off(before.len()) } else { String::new() })
    }

    fn mark_sent(&mut self) {
        self.ids.drain(..self.ids.len().saturating_sub(CONTEXT));
        self.sent = self.ids.len();
    }
}
