//! From a conversation to the ids around the image: the `phi` template, cut at `<image3d>`, tokenised chunk by chunk.
//!
//! The chunks are tokenised separately because the official code does so: each gets its own dummy prefix.

use med2e3_loaders::LlmTokenizer;
use med2e3_loaders::tokenizer::strip;

use crate::{Error, Result};

/// Where the image goes in a question.
pub const IMAGE_PLACEHOLDER: &str = "<image3d>";
/// What stands for the image rows among the ids of a prompt.
pub const IMAGE_ID: i64 = -201;

/// A 2D picture in the official template, which Med-2E3 has no input for.
const PICTURE_PLACEHOLDER: &str = "<image>";
const SYSTEM: &str = "A chat between a curious user and an artificial intelligence assistant. \
     The assistant gives helpful, detailed, and polite answers to the user's questions.";
const END_OF_TURN: &str = "<|endoftext|>";

/// A question and, if it is not the last one, what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What the human asks; whitespace around it does not count.
    pub question: String,
    /// What was answered; `None` for the question that is asked now.
    pub answer: Option<String>,
}

/// Questions about one volume, the last one without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// In the order in which they were asked.
    pub turns: Vec<Turn>,
}

impl Conversation {
    /// One question and nothing before it.
    pub fn single(prompt: impl Into<String>) -> Self {
        Self { turns: vec![Turn { question: prompt.into(), answer: None }] }
    }

    /// The prompt's text, `<image3d>` included exactly once: before the first question if no question places it.
    ///
    /// # Errors
    /// [`Error::Request`] unless the last question alone has no answer and there is room for exactly one image.
    pub fn text(&self) -> Result<String> {
        let Some((last, earlier)) = self.turns.split_last() else {
            return Err(Error::Request("the conversation has no question; give one".to_owned()));
        };
        if last.answer.is_some() {
            return Err(Error::Request("the last question has an answer already; add the next question".to_owned()));
        }
        if let Some(index) = earlier.iter().position(|turn| turn.answer.is_none()) {
            let number = index + 1;
            return Err(Error::Request(format!("question {number} of the conversation has no answer; add it")));
        }
        let placed = self.turns.iter().any(|turn| turn.question.contains(IMAGE_PLACEHOLDER));
        let mut text = format!("{SYSTEM} ");
        for (index, turn) in self.turns.iter().enumerate() {
            let image = if index == 0 && !placed { "<image3d>\n" } else { "" };
            let question = format!("{image}{}", turn.question);
            text.push_str(&format!("USER: {} ASSISTANT:", strip(&question)));
            if let Some(answer) = &turn.answer {
                text.push_str(&format!(" {}{END_OF_TURN}", strip(answer)));
            }
        }
        let images = text.matches(IMAGE_PLACEHOLDER).count();
        if images != 1 {
            return Err(Error::Request(format!("the prompt holds {IMAGE_PLACEHOLDER} {images} times; write it once")));
        }
        if text.contains(PICTURE_PLACEHOLDER) {
            let finding = format!("the prompt holds {PICTURE_PLACEHOLDER}, which stands for a 2D picture");
            return Err(Error::Request(format!("{finding}; write {IMAGE_PLACEHOLDER} for the volume")));
        }
        Ok(text)
    }
}

/// The ids of a prompt before and after the image rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// From the start, BOS included if the tokenizer adds one.
    pub before: Vec<u32>,
    /// Up to where the answer begins.
    pub after: Vec<u32>,
}

impl Prompt {
    /// Tokenises a conversation.
    ///
    /// # Errors
    /// [`Error::Request`] as [`Conversation::text`]; [`Error::Loaders`] if the tokenizer fails.
    pub fn build(conversation: &Conversation, tokenizer: &LlmTokenizer) -> Result<Self> {
        let text = conversation.text()?;
        let (first, second) = text.split_once(IMAGE_PLACEHOLDER).unwrap_or((&text, ""));
        let mut before: Vec<u32> = tokenizer.adds_bos().into_iter().collect();
        before.extend(tokenizer.encode_chunk(first)?);
        Ok(Self { before, after: tokenizer.encode_chunk(second)? })
    }

    /// All ids, with [`IMAGE_ID`] once for the image rows.
    pub fn ids_with_image(&self) -> Vec<i64> {
        let text = |ids: &[u32]| ids.iter().copied().map(i64::from).collect::<Vec<_>>();
        [text(&self.before), vec![IMAGE_ID], text(&self.after)].concat()
    }

    /// How many rows the LLM sees with an image of `image_rows`.
    pub fn rows(&self, image_rows: usize) -> usize {
        self.before.len() + image_rows + self.after.len()
    }
}

/// The question that guides TG-IS: `explicit`, or else the last human message without `<image3d>`, stripped.
pub fn guiding_question(conversation: &Conversation, explicit: Option<&str>) -> String {
    let last = || conversation.turns.last().map_or(String::new(), |turn| turn.question.replace(IMAGE_PLACEHOLDER, ""));
    strip(&explicit.map_or_else(last, str::to_owned)).to_owned()
}
