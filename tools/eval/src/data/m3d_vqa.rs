//! M3D-VQA CSV: a question a row, with its answer and four choices.

use csv::StringRecord;
use med2e3::prompt::Conversation;

use super::{Item, Kind, Place, Questions, Source, Topic};
use crate::error::{Error, Result};
use crate::metrics::Choice;

/// Columns of the choices, with their letters.
const CHOICES: [(char, &str); 4] = [('A', "Choice A"), ('B', "Choice B"), ('C', "Choice C"), ('D', "Choice D")];
/// What stands where there is no such choice.
const ABSENT: &str = "NA";

/// One or two items a row, as `--questions` has it.
pub(super) fn read(source: &Source, text: &str) -> Result<Vec<Item>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let malformed = |error: csv::Error| {
        let shown = source.data.display();
        let found = error.to_string().replace("CSV error: ", "");
        Error::input(format!("{shown}: is not CSV as M3D-VQA has it: {found}; correct the file"))
    };
    let columns = Columns(reader.headers().map_err(malformed)?.clone());
    let open = source.questions != Questions::Closed;
    let closed = source.questions != Questions::Open;
    let mut items = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(malformed)?;
        let row = Row { source, columns: &columns, record: &record, number: index + 1 };
        if open {
            items.push(row.open()?);
        }
        if closed {
            items.push(row.closed()?);
        }
    }
    Ok(items)
}

/// The names of the columns, in the file's order.
struct Columns(StringRecord);

/// One row, counted from 1.
struct Row<'a> {
    source: &'a Source,
    columns: &'a Columns,
    record: &'a StringRecord,
    number: usize,
}

impl Row<'_> {
    fn place(&self) -> Place<'_> {
        Place { path: &self.source.data, what: format!("row {}", self.number) }
    }

    fn field(&self, name: &str) -> Result<&str> {
        let column = self.columns.0.iter().position(|column| column.trim() == name).ok_or_else(|| {
            let shown = self.source.data.display();
            Error::input(format!("{shown}: has no column `{name}`; give a CSV file with the columns of M3D-VQA"))
        })?;
        Ok(self.record.get(column).unwrap_or_default())
    }

    /// The question alone.
    fn open(&self) -> Result<Item> {
        let number = self.field("Question Type")?.trim();
        let topic = Topic::parse(number).ok_or_else(|| {
            let found = format!("Question Type is `{number}`, but 1 (plane) to 5 (location) are known");
            self.place().wrong(found, "correct it")
        })?;
        let question = self.field("Question")?;
        if question.trim().is_empty() {
            return Err(self.place().wrong("Question is empty", "write one"));
        }
        Ok(Item {
            id: format!("{}-open", self.number),
            kind: Kind::Open,
            topic: Some(topic),
            volume: self.field("Image Path")?.to_owned(),
            conversation: Conversation::single(question),
            question: None,
            reference: self.field("Answer")?.to_owned(),
            choice: None,
            truth: None,
        })
    }

    /// The question with its choices, as M3D writes them.
    fn closed(&self) -> Result<Item> {
        let open = self.open()?;
        let letter = self.field("Answer Choice")?.trim();
        let known = CHOICES.iter().find(|(choice, _)| letter == choice.to_string());
        let Some(&(letter, _)) = known else {
            return Err(self.place().wrong(format!("Answer Choice is `{letter}`"), "write A, B, C or D"));
        };
        let mut question = format!("{} Choices:", self.field("Question")?);
        for (letter, column) in CHOICES {
            let text = self.field(column)?.trim();
            if text != ABSENT && !text.is_empty() {
                question.push_str(&format!(" {letter}. {text}"));
            }
        }
        Ok(Item {
            id: format!("{}-closed", self.number),
            kind: Kind::Closed,
            conversation: Conversation::single(question),
            reference: format!("{letter}. {}", open.reference),
            choice: Some(Choice::Letter(letter)),
            truth: None,
            ..open
        })
    }
}
