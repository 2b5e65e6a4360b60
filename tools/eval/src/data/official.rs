//! Med-2E3's JSON: a list of items with a conversation and a volume each, the answers inside or in a second file.

use med2e3::prompt::{Conversation, Turn};
use serde_json::Value;

use super::{Item, Kind, Place, Source, Topic, parse_json, read_text};
use crate::error::{Error, Result};
use crate::metrics::Choice;
use crate::truth::Truth;

/// All items; answers by position, as the official scripts match them.
pub(super) fn read(source: &Source, json: &Value) -> Result<Vec<Item>> {
    let rows = json.as_array().map(Vec::as_slice).unwrap_or_default();
    let answers = read_answers(source, rows.len())?;
    let item = |(index, row): (usize, &Value)| {
        let id = text_or_number(row.get("id")).unwrap_or_else(|| index.to_string());
        let place = Place { path: &source.data, what: format!("item {} (id `{id}`)", index + 1) };
        let answer = answers.as_ref().map(|answers| &answers[index]);
        let answer_id = answer.and_then(|answer| text_or_number(answer.get("id")));
        if let (Some(other), Some(path)) = (answer_id.filter(|other| *other != id), &source.answers) {
            let remedy = "put the answers in the order of the items";
            return Err(place.wrong(format!("the answer at its place in {} has id `{other}`", path.display()), remedy));
        }
        Row { source, row, answer, place }.item(id)
    };
    rows.iter().enumerate().map(item).collect()
}

fn read_answers(source: &Source, items: usize) -> Result<Option<Vec<Value>>> {
    let Some(path) = &source.answers else { return Ok(None) };
    let wrong = |found: String| {
        Error::input(format!("{}: {found}, but {items} items need one each; give their file", path.display()))
    };
    match parse_json(path, &read_text(path)?)? {
        Value::Array(answers) if answers.len() == items => Ok(Some(answers)),
        Value::Array(answers) => Err(wrong(format!("holds {} answers", answers.len()))),
        _ => Err(wrong("is no list of answers".to_owned())),
    }
}

/// One item and, if it stands elsewhere, its answer.
struct Row<'a> {
    source: &'a Source,
    row: &'a Value,
    answer: Option<&'a Value>,
    place: Place<'a>,
}

impl Row<'_> {
    fn item(&self, id: String) -> Result<Item> {
        let (conversation, last_answer) = self.conversation()?;
        let choice = self.letter()?;
        let answer = self.field("answer").map(|answer| {
            let wrong = || self.place.wrong(format!("`answer` is {answer}"), "write it as text");
            answer.as_str().map(str::to_owned).ok_or_else(wrong)
        });
        let reference = match answer.transpose()?.or(last_answer).or(choice.map(|choice| choice.to_string())) {
            Some(reference) => reference,
            None => return Err(self.place.wrong("has no answer", "add `answer`, or give --answers")),
        };
        let choice = choice.or_else(|| Choice::of_answer(&reference));
        let (kind, topic) = self.kind_and_topic(&conversation, choice)?;
        if kind == Kind::Closed && choice.is_none() {
            let found = format!("is closed-ended, but its answer `{reference}` names no choice");
            return Err(self.place.wrong(found, "write it as `B. text`, or add `answer_choice`"));
        }
        let question = self.row.get("question").and_then(Value::as_str).map(str::to_owned);
        let choice = choice.filter(|_| kind == Kind::Closed);
        let volume = self.volume()?;
        let truth = self.truth()?;
        Ok(Item { id, kind, topic, volume, conversation, question, reference, choice, truth })
    }

    /// A field of the answer's file, else of the item.
    fn field(&self, name: &str) -> Option<&Value> {
        let found = self.answer.and_then(|answer| answer.get(name)).or_else(|| self.row.get(name));
        found.filter(|value| !value.is_null())
    }

    /// The one volume; MedM-VL calls the field by another name.
    fn volume(&self) -> Result<String> {
        let found = self.row.get("vision3d").or_else(|| self.row.get("image3d"));
        let path = match found {
            Some(Value::Array(paths)) if paths.len() == 1 => paths[0].as_str(),
            Some(path) => path.as_str(),
            None => None,
        };
        path.map(str::to_owned).ok_or_else(|| {
            let found = found.map_or("missing".to_owned(), ToString::to_string);
            self.place.wrong(format!("`vision3d` is {found}"), "give the path of one volume")
        })
    }

    /// What is asked, and the answer if it stands at the end.
    fn conversation(&self) -> Result<(Conversation, Option<String>)> {
        let wrong = |found: &str| self.place.wrong(found, "write turns of `human` and `gpt` by turns");
        let Some(turns) = self.row.get("conversations") else {
            let question = self.row.get("question").and_then(Value::as_str);
            let question = question.ok_or_else(|| wrong("has neither `conversations` nor `question`"))?;
            return Ok((Conversation::single(question), None));
        };
        let mut found: Vec<Turn> = Vec::new();
        for turn in turns.as_array().ok_or_else(|| wrong("`conversations` is no list"))? {
            let text = |key: &str| turn.get(key).and_then(Value::as_str);
            let value = text("value").ok_or_else(|| wrong("a turn has no `value`"))?.to_owned();
            match (text("from"), found.last_mut()) {
                (Some("human" | "user"), last) if last.as_ref().is_none_or(|last| last.answer.is_some()) => {
                    found.push(Turn { question: value, answer: None });
                }
                (Some("gpt" | "assistant"), Some(last)) if last.answer.is_none() => last.answer = Some(value),
                _ => return Err(wrong("its turns do not alternate")),
            }
        }
        let last = found.last_mut().ok_or_else(|| wrong("`conversations` is empty"))?;
        let answer = last.answer.take();
        Ok((Conversation { turns: found }, answer))
    }

    /// What the patient has, as `phantom` writes it.
    fn truth(&self) -> Result<Option<Truth>> {
        let Some(value) = self.field("truth") else { return Ok(None) };
        let wrong = |finding: String| self.place.wrong(finding, "write it as engine-cli phantom does, or leave it out");
        let truth: Truth = serde_json::from_value(value.clone()).map_err(|error| wrong(format!("`truth`: {error}")))?;
        match truth.slices {
            Some([first, last]) if first > last => Err(wrong(format!("`truth` has slices from {first} to {last}"))),
            _ => Ok(Some(truth)),
        }
    }

    /// `answer_choice`.
    fn letter(&self) -> Result<Option<Choice>> {
        let Some(value) = self.field("answer_choice") else { return Ok(None) };
        let wrong = || self.place.wrong(format!("`answer_choice` is {value}"), "write A, B, C or D");
        let letter = value.as_str().map(|letter| letter.trim().trim_end_matches('.')).ok_or_else(wrong)?;
        Choice::of_answer(&format!("{letter}.")).map(Some).ok_or_else(wrong)
    }

    fn kind_and_topic(&self, conversation: &Conversation, choice: Option<Choice>) -> Result<(Kind, Option<Topic>)> {
        let number = self.field("question_type").map(|value| text_or_number(Some(value)).unwrap_or_default());
        let named =
            |text: &Option<String>, name: &str| text.as_deref().is_some_and(|text| text.eq_ignore_ascii_case(name));
        let caption = named(&number, "0") || named(&number, "caption");
        let topic = match number.as_deref().filter(|_| !caption) {
            None => Topic::Other,
            Some(number) => Topic::parse(number).ok_or_else(|| {
                let found = format!("question_type is `{number}`, but 0 (caption) to 5 (location) are known");
                self.place.wrong(found, "correct it")
            })?,
        };
        let asked = conversation.turns.last().map_or("", |turn| turn.question.as_str());
        let offered = match choice {
            Some(Choice::Letter(_)) => self.field("answer_choice").is_some() || asked.contains("Choices:"),
            Some(Choice::Parenthesis(letter)) => asked.contains(&format!("({letter})")),
            None => false,
        };
        let kind = match (self.stated_kind()?, caption, offered) {
            (Some(kind), ..) => kind,
            (None, true, _) => Kind::Caption,
            (None, false, true) => Kind::Closed,
            (None, false, false) => self.source.kind.unwrap_or(Kind::Open),
        };
        Ok((kind, (kind != Kind::Caption).then_some(topic)))
    }

    /// `type`, in M3D's, CT-RATE's and our words.
    fn stated_kind(&self) -> Result<Option<Kind>> {
        let Some(value) = self.field("type") else { return Ok(None) };
        match value.as_str().map(str::to_lowercase).as_deref() {
            Some("caption" | "report" | "report_generation") => Ok(Some(Kind::Caption)),
            Some("open" | "open-ended" | "long_answer" | "short_answer") => Ok(Some(Kind::Open)),
            Some("close" | "closed" | "closed-ended" | "choice" | "multiple_choice") => Ok(Some(Kind::Closed)),
            _ => Err(self.place.wrong(format!("`type` is {value}"), "write caption, open or closed")),
        }
    }
}

fn text_or_number(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
