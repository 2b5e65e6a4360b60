//! What is asked: the items of a data file, whichever of the published formats it has.

mod m3d_cap;
mod m3d_vqa;
mod official;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use med2e3::prompt::Conversation;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::metrics::Choice;
use crate::truth::Truth;
pub use m3d_cap::CAPTION_QUESTION;

/// Which items are read, and from where.
#[derive(Debug, Clone)]
pub struct Source {
    /// Med-2E3 JSON, M3D-VQA CSV or M3D-Cap JSON; told apart by content.
    pub data: PathBuf,
    /// The folder that the paths in the data file start from.
    pub volumes: PathBuf,
    /// Answers in a file of their own: the same order, the same ids.
    pub answers: Option<PathBuf>,
    /// What the items of a JSON file are, where they do not say.
    pub kind: Option<Kind>,
    /// Which questions each row of a CSV file asks.
    pub questions: Questions,
    /// Which split of an M3D-Cap file; `test1k` where absent, or `test` where that has no items.
    pub split: Option<String>,
    /// What is asked about every item of an M3D-Cap file.
    pub caption_question: String,
    /// Only the first items, up to this number.
    pub limit: Option<usize>,
}

impl Source {
    /// All items of a data file, with the usual questions.
    pub fn new(data: impl Into<PathBuf>, volumes: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            volumes: volumes.into(),
            answers: None,
            kind: None,
            questions: Questions::Both,
            split: None,
            caption_question: CAPTION_QUESTION.to_owned(),
            limit: None,
        }
    }
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A description of the whole scan, by its words.
    Caption,
    /// An answer in free words, by its words.
    #[default]
    Open,
    /// One of the choices in the question, right or wrong.
    Closed,
}

/// The questions of a row that holds both an answer and choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Questions {
    /// Each row twice, without and with choices.
    Both,
    /// Without choices.
    Open,
    /// With choices.
    Closed,
}

/// What a question is about: M3D-VQA's five topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Type 1.
    Plane,
    /// Type 2.
    Phase,
    /// Type 3.
    Organ,
    /// Type 4.
    Abnormality,
    /// Type 5.
    Location,
    /// The data does not say.
    Other,
}

/// A question about a volume and its answer.
#[derive(Debug, Clone)]
pub struct Item {
    /// As in the data file, or made of the row's number.
    pub id: String,
    /// How the answer is judged.
    pub kind: Kind,
    /// What it is about; nothing for captions.
    pub topic: Option<Topic>,
    /// As in the data file.
    pub volume: String,
    /// What is said to the model.
    pub conversation: Conversation,
    /// Text that guides TG-IS; the last question where absent.
    pub question: Option<String>,
    /// The right answer.
    pub reference: String,
    /// The right choice, of a closed question.
    pub choice: Option<Choice>,
    /// What the patient has, where the data says it.
    pub truth: Option<Truth>,
}

impl Topic {
    /// In the order of M3D-VQA's numbers, which start at 1.
    const NUMBERED: [Self; 5] = [Self::Plane, Self::Phase, Self::Organ, Self::Abnormality, Self::Location];

    /// As in tables and result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plane => "plane",
            Self::Phase => "phase",
            Self::Organ => "organ",
            Self::Abnormality => "abnormality",
            Self::Location => "location",
            Self::Other => "other",
        }
    }

    /// By its name.
    pub fn named(text: &str) -> Option<Self> {
        Self::NUMBERED.into_iter().find(|topic| topic.name().eq_ignore_ascii_case(text))
    }

    /// By its number or name.
    fn parse(text: &str) -> Option<Self> {
        let numbered = || text.parse::<usize>().ok().and_then(|number| Self::NUMBERED.get(number.checked_sub(1)?));
        Self::named(text).or_else(|| numbered().copied())
    }
}

/// Where something is wrong in a data file.
struct Place<'a> {
    path: &'a Path,
    /// Such as `item 3`.
    what: String,
}

impl Place<'_> {
    fn wrong(&self, finding: impl std::fmt::Display, remedy: &str) -> Error {
        Error::input(format!("{}: {}: {finding}; {remedy}", self.path.display(), self.what))
    }
}

/// The items, in the file's order.
///
/// # Errors
/// Where a file cannot be read or is not in the format that it seems to have; the text names the item and the remedy.
pub fn read(source: &Source) -> Result<Vec<Item>> {
    let path = source.data.as_path();
    let text = read_text(path)?;
    let mut items = match text.trim_start().chars().next() {
        Some('[') => official::read(source, &parse_json(path, &text)?)?,
        Some('{') => m3d_cap::read(source, &parse_json(path, &text)?)?,
        Some(_) => m3d_vqa::read(source, &text)?,
        None => Vec::new(),
    };
    if let Some(limit) = source.limit {
        items.truncate(limit);
    }
    if items.is_empty() {
        return Err(Error::input(format!("{}: holds no items; give a data file that has some", path.display())));
    }
    Ok(items)
}

/// A volume that items ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeFile<'a> {
    /// Its path, as in the data file.
    pub name: &'a str,
    /// Its size; 0 for a folder.
    pub bytes: u64,
}

/// Every volume once, in the order of first use.
///
/// # Errors
/// Where one is missing, so that a run ends before it starts.
pub fn volumes<'a>(items: &'a [Item], source: &Source) -> Result<Vec<VolumeFile<'a>>> {
    let mut known = HashSet::new();
    let first_uses = items.iter().filter(|item| known.insert(item.volume.as_str()));
    let file = |item: &'a Item| {
        let path = source.volumes.join(&item.volume);
        let found = std::fs::metadata(&path).map_err(|error| {
            let shown = path.display();
            let id = &item.id;
            let data = source.data.display();
            let finding = format!("cannot open ({error}), but item `{id}` of {data} asks about it");
            Error::input(format!("{shown}: {finding}; check --volumes"))
        })?;
        Ok(VolumeFile { name: &item.volume, bytes: if found.is_file() { found.len() } else { 0 } })
    };
    first_uses.map(file).collect()
}

/// A text file, without the mark that some editors put first.
fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| med2e3_loaders::Error::io(path, "read", error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::input(format!("{}: byte {at} is not UTF-8; save the file as UTF-8 text", path.display()))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn parse_json(path: &Path, text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| {
        let shown = path.display();
        Error::input(format!("{shown}: is not JSON: {error}; correct the file, or download it again"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_numbers_and_names() {
        assert_eq!((Topic::parse("1"), Topic::parse("Location")), (Some(Topic::Plane), Some(Topic::Location)));
        for bad in ["0", "6", "", "planes", "-1"] {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
    }
}
