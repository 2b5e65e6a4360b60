//! Texts and tokens, as a public interface has them: what a user types is text, and a token has a spelling and bytes.
use med2e3::loaders::tokenizer::LlmTokenizer;
use med2e3::prompt::IMAGE_PLACEHOLDER;

/// What stands for pictures in a prompt, and tokens that files do not always call special.
const MARKS: [&str; 6] = [IMAGE_PLACEHOLDER, "<image>", "<s>", "</s>", "<unk>", "<pad>"];
/// BERT's, which reads the text that weighs the slices.
const BERT_MARKS: [&str; 5] = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
/// SentencePiece's visible blank.
const BLANK: char = '▁';

/// Keeps special tokens in a user's text what they are: text.
pub(crate) struct Plain {
    /// Texts that a tokenizer, or the template, would take for something else.
    marks: Vec<String>,
}

impl Plain {
    /// Those of this tokenizer.
    pub fn new(tokenizer: &LlmTokenizer) -> Self {
        let ids = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
        let texts = ids.filter_map(|id| Some((id, tokenizer.token_text(id)?)));
        let is_mark = |id, text: &str| tokenizer.is_special(id) || (text.starts_with("<|") && text.ends_with("|>"));
        let special = texts.filter(|(id, text)| is_mark(*id, text)).map(|(_, text)| text);
        let known = MARKS.iter().chain(&BERT_MARKS).map(|text| (*text).to_owned());
        // A mark of one character could not be taken apart, and no tokenizer has one.
        let mut marks: Vec<String> = special.chain(known).filter(|text| text.chars().count() > 1).collect();
        marks.sort();
        marks.dedup();
        Self { marks }
    }

    /// `text` with a space after the first character of each special token, so that the tokenizer reads it as text.
    pub fn text(&self, text: &str) -> String {
        let mut plain = String::with_capacity(text.len());
        for (at, letter) in text.char_indices() {
            plain.push(letter);
            if self.marks.iter().any(|mark| text[at..].starts_with(mark.as_str())) {
                plain.push(' ');
            }
        }
        plain
    }
}

/// A token's text and bytes; no bytes where it is a part of a character that the vocabulary does not spell.
pub(crate) fn spelled(tokenizer: &LlmTokenizer, id: u32) -> (String, Option<Vec<u8>>) {
    let token = tokenizer.token_text(id).unwrap_or_default();
    if let Some(byte) = byte_of(&token) {
        return (String::from_utf8_lossy(&[byte]).into_owned(), Some(vec![byte]));
    }
    let text =
        if token.contains(BLANK) { token.replace(BLANK, " ") } else { tokenizer.decode(&[id], false).unwrap_or(token) };
    let bytes = (!text.contains(char::REPLACEMENT_CHARACTER)).then(|| text.clone().into_bytes());
    (text, bytes)
}

/// The byte that `<0x0A>` spells.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> LlmTokenizer {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/research/demo/model");
        LlmTokenizer::open(&demo).unwrap()
    }

    #[test]
    fn special_tokens_that_are_typed_are_text() {
        let tokenizer = tokenizer();
        let plain = Plain::new(&tokenizer);
        let typed = "Say <|endoftext|> and <image3d>, </s>, <image> or [SEP].";
        let ids = tokenizer.encode_chunk(&plain.text(typed)).unwrap();
        assert!(ids.iter().all(|&id| !tokenizer.is_special(id)));
        assert!(tokenizer.encode_chunk(typed).unwrap().iter().any(|&id| tokenizer.is_special(id)), "the test is vain");
        assert_eq!(plain.text(typed), "Say < |endoftext|> and < image3d>, < /s>, < image> or [ SEP].");
        assert_eq!(plain.text("Which plane is shown? a < b > c [1]"), "Which plane is shown? a < b > c [1]");
        // Taking one apart must not make another.
        assert!(!plain.text("<<s>s>").contains("<s>"));
    }

    #[test]
    fn tokens_are_spelled_with_their_blanks() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode_chunk("the lung").unwrap();
        let text: String = ids.iter().map(|&id| spelled(&tokenizer, id).0).collect();
        assert_eq!(text.trim_start(), "the lung");
        let bytes = ids.iter().flat_map(|&id| spelled(&tokenizer, id).1.unwrap());
        assert_eq!(String::from_utf8(bytes.collect()).unwrap(), text);
        assert_eq!(byte_of("<0x0A>"), Some(10));
        assert_eq!([byte_of("<s>"), byte_of("<0xZZ>")], [None, None]);
    }
}
