//! The metrics of the paper's tables, equal to those of the Python packages that its scripts call.

mod bleu;
mod closed;
mod meteor;
mod porter;
mod rouge;
mod sentences;
mod treebank;
mod wordnet;

pub use closed::Choice;
pub use sentences::Sentences;
pub use wordnet::WordNet;

use serde::{Deserialize, Serialize};

/// How much an answer in free words resembles the reference, each from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TextScores {
    /// BLEU with single words, of this one sentence.
    pub bleu_1: f64,
    /// F1 of the words in common.
    pub rouge_1: f64,
    /// METEOR; without synonyms where no WordNet is given.
    pub meteor: f64,
}

/// Scores texts; holds the data that METEOR may use.
#[derive(Debug, Default)]
pub struct Scorer {
    /// How a text is cut into sentences, which METEOR does first.
    pub sentences: Sentences,
    /// Synonyms.
    pub wordnet: Option<WordNet>,
}

impl Scorer {
    /// All text metrics. An empty prediction scores 0, as in the official scripts.
    pub fn text(&self, reference: &str, prediction: &str) -> TextScores {
        if prediction.is_empty() {
            return TextScores::default();
        }
        let words = |text: &str| treebank::word_tokenize(text, &self.sentences);
        TextScores {
            bleu_1: bleu::bleu_1(reference, prediction),
            rouge_1: rouge::rouge_1(reference, prediction),
            meteor: meteor::meteor(&words(reference), &words(prediction), self.wordnet.as_ref()),
        }
    }
}

/// What Python's `str.isspace` and `\s` call white space: Unicode's, and four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Python's `str.split()`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// How many words two texts share, each counted as often as it occurs in both.
fn shared<'a>(a: &[&'a str], b: &[&'a str]) -> usize {
    let mut left = std::collections::HashMap::new();
    for word in b {
        *left.entry(*word).or_insert(0_usize) += 1;
    }
    let mut taken = 0;
    for word in a {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            taken += 1;
        }
    }
    taken
}

#[cfg(test)]
mod tests;
