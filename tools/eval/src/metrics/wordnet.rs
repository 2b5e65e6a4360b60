//! Synonyms from a WordNet 3.0 folder, looked up as nltk does it: base forms of the word first, then their synsets.

use std::collections::HashMap;
use std::path::Path;

use crate::error::{Error, Result};

/// The names of a part of speech's files, and the endings by which its words are inflected.
const PARTS: [(&str, &[(&str, &str)]); 4] = [
    (
        "noun",
        &[
            ("s", ""),
            ("ses", "s"),
            ("ves", "f"),
            ("xes", "x"),
            ("zes", "z"),
            ("ches", "ch"),
            ("shes", "sh"),
            ("men", "man"),
            ("ies", "y"),
        ],
    ),
    ("verb", &[("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")]),
    ("adj", &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")]),
    ("adv", &[]),
];

/// The four parts of speech.
#[derive(Debug)]
pub struct WordNet {
    parts: Vec<PartOfSpeech>,
}

#[derive(Debug)]
struct PartOfSpeech {
    /// Endings and what they stand for.
    endings: &'static [(&'static str, &'static str)],
    /// Irregular forms and their base forms.
    exceptions: HashMap<String, Vec<String>>,
    /// Byte offsets of a lemma's synsets in `data`.
    index: HashMap<String, Vec<usize>>,
    /// The synsets, a line each.
    data: String,
}

impl WordNet {
    /// Reads the files `index.*`, `data.*` and `*.exc` of the folder.
    ///
    /// # Errors
    /// Where one of them is missing or damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let part = |(name, endings): (&str, _)| PartOfSpeech::read(folder, name, endings);
        Ok(Self { parts: PARTS.into_iter().map(part).collect::<Result<_>>()? })
    }

    /// The word itself and every single word that shares a synset with it.
    pub fn synonyms(&self, word: &str) -> Vec<String> {
        let mut found = vec![word.to_owned()];
        for part in &self.parts {
            for form in part.base_forms(&word.to_lowercase()) {
                for &offset in part.index.get(&form).into_iter().flatten() {
                    found.extend(part.lemmas(offset).filter(|lemma| !lemma.contains('_')).map(str::to_owned));
                }
            }
        }
        found
    }
}

impl PartOfSpeech {
    fn read(folder: &Path, name: &str, endings: &'static [(&'static str, &'static str)]) -> Result<Self> {
        let index_path = folder.join(format!("index.{name}"));
        let mut index = HashMap::new();
        let data = read(&folder.join(format!("data.{name}")))?;
        for (number, line) in read(&index_path)?.lines().enumerate().filter(|(_, line)| !line.starts_with(' ')) {
            let (lemma, offsets) = index_entry(line).ok_or_else(|| malformed(&index_path, number + 1))?;
            if offsets.iter().any(|&offset| !data.is_char_boundary(offset) || offset >= data.len()) {
                return Err(malformed(&index_path, number + 1));
            }
            index.insert(lemma, offsets);
        }
        let mut exceptions = HashMap::new();
        for line in read(&folder.join(format!("{name}.exc")))?.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            if let Some(irregular) = words.next() {
                exceptions.insert(irregular, words.collect());
            }
        }
        Ok(Self { endings, exceptions, index, data })
    }

    /// The forms under which the word is listed: irregular ones, else the word and those without one ending, else
    /// those without several.
    fn base_forms(&self, word: &str) -> Vec<String> {
        let without_ending = |forms: &[String]| -> Vec<String> {
            let cut = |form: &String| {
                let cut = |(old, new): &(&str, &str)| form.strip_suffix(old).map(|stem| format!("{stem}{new}"));
                self.endings.iter().filter_map(cut).collect::<Vec<_>>()
            };
            forms.iter().flat_map(cut).collect()
        };
        let listed = |forms: &[String]| -> Vec<String> {
            let mut listed: Vec<String> = Vec::new();
            for form in forms.iter().filter(|form| self.index.contains_key(*form)) {
                if !listed.contains(form) {
                    listed.push(form.clone());
                }
            }
            listed
        };
        let word = vec![word.to_owned()];
        if let Some(bases) = self.exceptions.get(&word[0]) {
            return listed(&[word, bases.clone()].concat());
        }
        let mut forms = without_ending(&word);
        let mut found = listed(&[word, forms.clone()].concat());
        while found.is_empty() && !forms.is_empty() {
            forms = without_ending(&forms);
            found = listed(&forms);
        }
        found
    }

    /// The words of a synset, without the marks of adjectives, such as `(a)`.
    fn lemmas(&self, offset: usize) -> impl Iterator<Item = &str> {
        let line = self.data[offset..].lines().next().unwrap_or_default();
        let mut fields = line.split('|').next().unwrap_or_default().split_whitespace().skip(3);
        let count = fields.next().and_then(|count| usize::from_str_radix(count, 16).ok()).unwrap_or(0);
        fields.step_by(2).take(count).map(|lemma| match (lemma.split_once('('), lemma.ends_with(')')) {
            (Some((name, _)), true) => name,
            _ => lemma,
        })
    }
}

/// A line of an index file: the lemma and where its synsets are.
fn index_entry(line: &str) -> Option<(String, Vec<usize>)> {
    let mut fields = line.split_whitespace();
    let number = |fields: &mut std::str::SplitWhitespace<'_>| fields.next()?.parse::<usize>().ok();
    let lemma = fields.next()?.to_owned();
    fields.next()?;
    let synsets = number(&mut fields)?;
    for _ in 0..number(&mut fields)? {
        fields.next()?;
    }
    // Senses, which are as many, and how many of them are ranked.
    (number(&mut fields)? == synsets).then_some(())?;
    fields.next()?;
    let offsets = (0..synsets).map(|_| number(&mut fields)).collect::<Option<Vec<_>>>()?;
    Some((lemma, offsets))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let shown = path.display();
        Error::input(format!("{shown}: cannot read: {error}; give the dict folder of WordNet 3.0 with --wordnet"))
    })
}

fn malformed(path: &Path, line: usize) -> Error {
    let shown = path.display();
    Error::input(format!(
        "{shown}: line {line} is no entry of a WordNet index; give the dict folder of WordNet 3.0 with --wordnet"
    ))
}
