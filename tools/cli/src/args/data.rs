//! The data set of an evaluation, as typed.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use med2e3_eval::data::{CAPTION_QUESTION, Kind, Questions, Source};

/// Which items are read, and from where.
#[derive(Debug, Clone, Args)]
pub struct DataArgs {
    /// Med-2E3 JSON, M3D-VQA CSV or M3D-Cap JSON; told apart by content
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The folder that the paths in the data file start from
    #[arg(long, value_name = "DIR")]
    volumes: PathBuf,
    /// Answers in a file of their own, as the official ones: the same order, the same ids
    #[arg(long, value_name = "FILE.json")]
    answers: Option<PathBuf>,
    /// What the items of a JSON file are, where they do not say
    #[arg(long, value_enum, value_name = "KIND")]
    kind: Option<KindChoice>,
    /// Which questions each row of a CSV file asks
    #[arg(long, value_enum, default_value = "both")]
    questions: QuestionsChoice,
    /// Which split of an M3D-Cap file [default: test1k, or test where that has no items]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// What is asked about every item of an M3D-Cap file
    #[arg(long, value_name = "TEXT", default_value = CAPTION_QUESTION)]
    caption_question: String,
    /// Only the first K items
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// How an answer is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KindChoice {
    /// A description of the whole scan, by its words
    Caption,
    /// An answer in free words, by its words
    Open,
    /// One of the choices in the question, right or wrong
    Closed,
}

/// The questions of a row that holds both an answer and choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum QuestionsChoice {
    /// Each row twice, without and with choices
    Both,
    /// Without choices
    Open,
    /// With choices
    Closed,
}

impl DataArgs {
    /// The same, as the evaluation wants it.
    pub fn source(&self) -> Source {
        let kind = self.kind.map(|kind| match kind {
            KindChoice::Caption => Kind::Caption,
            KindChoice::Open => Kind::Open,
            KindChoice::Closed => Kind::Closed,
        });
        let questions = match self.questions {
            QuestionsChoice::Both => Questions::Both,
            QuestionsChoice::Open => Questions::Open,
            QuestionsChoice::Closed => Questions::Closed,
        };
        Source {
            data: self.data.clone(),
            volumes: self.volumes.clone(),
            answers: self.answers.clone(),
            kind,
            questions,
            split: self.split.clone(),
            caption_question: self.caption_question.clone(),
            limit: self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        }
    }
}
