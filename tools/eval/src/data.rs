//! What is asked: the items of a data file, whichever of the published formats it has.

mod m3d_cap;
mod m3d_vqa;
mod official;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use med2e3::prompt::Conversation;
use serde::{Deserialize, Serialize};

use super::metrics::Choice;
use super::truth::Truth;
use crate::failure::{Failure, Result};

/// Which items are read, and from where.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Med-2E3 JSON, M3D-VQA CSV or M3D-Cap JSON; told apart by content
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The folder that the paths in the data file start from
    #[arg(long, value_name = "DIR")]
    pub volumes: PathBuf,
    /// Answers in a file of their own, as the official ones: the same order, the same ids
    #[arg(long, value_name = "FILE.json")]
    pub answers: Option<PathBuf>,
    /// What the items of a JSON file are, where they do not say
    #[arg(long, value_enum, value_name = "KIND")]
    pub kind: Option<Kind>,
    /// Which questions each row of a CSV file asks
    #[arg(long, value_enum, default_value = "both")]
    pub questions: Questions,
    /// Which split of an M3D-Cap file [default: test1k, or test where that has no items]
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,
    /// What is asked about every item of an M3D-Cap file
    #[arg(long, value_name = "TEXT", default_value = m3d_cap::QUESTION)]
    pub caption_question: String,
    /// Only the first K items
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A description of the whole scan, by its words
    Caption,
    /// An answer in free words, by its words
    #[default]
    Open,
    /// One of the choices in the question, right or wrong
    Closed,
}

/// The questions of a row that holds both an answer and choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Questions {
    /// Each row twice, without and with choices
    Both,
    /// Without choices
    Open,
    /// With choices
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
    fn wrong(&self, finding: impl std::fmt::Display, remedy: &str) -> Failure {
        Failure::input(format!("{}: {}: {finding}; {remedy}", self.path.display(), self.what))
    }
}

/// The items, in the file's order.
pub fn read(args: &DataArgs) -> Result<Vec<Item>> {
    let path = args.data.as_path();
    let text = read_text(path)?;
    let mut items = match text.trim_start().chars().next() {
        Some('[') => official::read(args, &parse_json(path, &text)?)?,
        Some('{') => m3d_cap::read(args, &parse_json(path, &text)?)?,
        Some(_) => m3d_vqa::read(args, &text)?,
        None => Vec::new(),
    };
    if let Some(limit) = args.limit {
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    if items.is_empty() {
        return Err(Failure::input(format!("{}: holds no items; give a data file that has some", path.display())));
    }
    Ok(items)
}

/// A text file, without the mark that some editors put first.
fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| med2e3_loaders::Error::io(path, "read", error))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::input(format!("{}: byte {at} is not UTF-8; save the file as UTF-8 text", path.display()))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn parse_json(path: &Path, text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).map_err(|error| {
        let shown = path.display();
        Failure::input(format!("{shown}: is not JSON: {error}; correct the file, or download it again"))
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
