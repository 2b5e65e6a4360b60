//! Averages of many samples, as the paper's tables have them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{Kind, Topic};
use crate::lesions::Lesions;
use crate::results::Sample;

/// All averages, from 0 to 1. A kind without items has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tables {
    /// Captions: the plain mean.
    pub captions: Option<Averages>,
    /// Open-ended questions.
    pub open: Option<Group>,
    /// Closed-ended questions.
    pub closed: Option<Group>,
    /// Of items that say what their patient has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lesions: Option<Lesions>,
}

/// The averages of one kind of question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Of each topic.
    pub topics: BTreeMap<Topic, Averages>,
    /// The mean of the topics' means.
    #[serde(rename = "macro")]
    pub macro_average: Averages,
    /// The mean of all samples.
    #[serde(rename = "micro")]
    pub micro_average: Averages,
}

/// How many samples and the mean of each figure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Averages {
    /// Samples.
    pub items: usize,
    /// `bleu_1`, `rouge_1` and `meteor`, or `accuracy`.
    #[serde(flatten)]
    pub figures: BTreeMap<String, f64>,
}

impl Tables {
    /// Averages over samples that may be of all kinds.
    pub fn of(samples: &[&Sample]) -> Self {
        let of = |kind: Kind| samples.iter().copied().filter(|sample| sample.kind == kind).collect::<Vec<_>>();
        let group =
            |kind: Kind| Some(of(kind)).filter(|samples| !samples.is_empty()).map(|samples| Group::of(&samples));
        let captions = of(Kind::Caption);
        let captions = (!captions.is_empty()).then(|| Averages::of(&captions));
        Self { captions, open: group(Kind::Open), closed: group(Kind::Closed), lesions: Lesions::of(samples) }
    }
}

impl Group {
    fn of(samples: &[&Sample]) -> Self {
        let mut by_topic: BTreeMap<Topic, Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            by_topic.entry(sample.topic.unwrap_or(Topic::Other)).or_default().push(sample);
        }
        let topics: BTreeMap<Topic, Averages> =
            by_topic.into_iter().map(|(topic, samples)| (topic, Averages::of(&samples))).collect();
        let micro_average = Averages::of(samples);
        let mean = |name: &String| topics.values().map(|topic| topic.figures[name]).sum::<f64>() / topics.len() as f64;
        let figures = micro_average.figures.keys().map(|name| (name.clone(), mean(name))).collect();
        let macro_average = Averages { items: samples.len(), figures };
        Self { topics, macro_average, micro_average }
    }
}

impl Averages {
    fn of(samples: &[&Sample]) -> Self {
        Self::mean(samples.iter().map(|sample| sample.figures()))
    }

    /// The mean of each figure that all items have.
    pub(crate) fn mean(all: impl ExactSizeIterator<Item = Vec<(&'static str, f64)>>) -> Self {
        let items = all.len();
        let mut sums: BTreeMap<&'static str, (usize, f64)> = BTreeMap::new();
        for (name, value) in all.flatten() {
            let (count, sum) = sums.entry(name).or_default();
            *count += 1;
            *sum += value / items as f64;
        }
        let common = sums.into_iter().filter(|(_, (count, _))| *count == items);
        Self { items, figures: common.map(|(name, (_, sum))| (name.to_owned(), sum)).collect() }
    }
}

/// A figure's name in results and in print.
pub(crate) type Column<'a> = (&'a str, &'a str);

/// The tables as lines of aligned columns, in percent. `meteor` is what stands over METEOR's column, and `beside` are
/// another run's figures and what stands over theirs.
pub fn text(tables: &Tables, meteor: &str, beside: Option<(&Tables, &str)>) -> String {
    let words: [Column<'_>; 3] = [("bleu_1", "BLEU-1"), ("rouge_1", "ROUGE-1"), ("meteor", meteor)];
    let (other, label) = beside.map_or((None, ""), |(tables, label)| (Some(tables), label));
    let mut blocks = Vec::new();
    if let Some(captions) = &tables.captions {
        let other = other.and_then(|other| other.captions.as_ref());
        blocks.push(block("Captions", &words, label, vec![("all", captions, other)]));
    }
    let closed: &[Column<'_>] = match &tables.closed {
        Some(group) if group.micro_average.figures.contains_key("scored") => {
            &[("accuracy", "accuracy"), ("scored", "scored"), ("agreement", "agreement")]
        }
        _ => &[("accuracy", "accuracy")],
    };
    let groups = [
        ("Open-ended VQA", &words[..], &tables.open, other.and_then(|other| other.open.as_ref())),
        ("Closed-ended VQA", closed, &tables.closed, other.and_then(|other| other.closed.as_ref())),
    ];
    for (title, columns, group, other) in groups {
        if let Some(group) = group {
            blocks.push(block(title, columns, label, rows(group, other)));
        }
    }
    if let Some(lesions) = &tables.lesions {
        blocks.extend(lesions.text(other.and_then(|other| other.lesions.as_ref()), label));
    }
    blocks.join("\n")
}

/// A row's name, its averages, and those beside them.
pub(crate) type Row<'a> = (&'a str, &'a Averages, Option<&'a Averages>);

fn rows<'a>(group: &'a Group, other: Option<&'a Group>) -> Vec<Row<'a>> {
    let topic = |(topic, averages)| {
        let topic: &Topic = topic;
        (topic.name(), averages, other.and_then(|other| other.topics.get(topic)))
    };
    let mut rows: Vec<Row<'a>> = group.topics.iter().map(topic).collect();
    rows.push(("macro average", &group.macro_average, other.map(|other| &other.macro_average)));
    rows.push(("micro average", &group.micro_average, other.map(|other| &other.micro_average)));
    rows
}

/// One table.
pub(crate) fn block(title: &str, columns: &[Column<'_>], label: &str, rows: Vec<Row<'_>>) -> String {
    let percent = |averages: Option<&Averages>, name: &str| {
        let figure = averages.and_then(|averages| averages.figures.get(name));
        figure.map_or("-".to_owned(), |figure| format!("{:.2}", 100.0 * figure))
    };
    let mut lines = vec![vec![title.to_owned(), "items".to_owned()]];
    for (_, shown) in columns {
        lines[0].push((*shown).to_owned());
        lines[0].extend((!label.is_empty()).then(|| label.to_owned()));
    }
    for (name, averages, other) in rows {
        let mut line = vec![name.to_owned(), averages.items.to_string()];
        for (column, _) in columns {
            line.push(percent(Some(averages), column));
            line.extend((!label.is_empty()).then(|| percent(other, column)));
        }
        lines.push(line);
    }
    align(&lines)
}

/// The first column to the left, the others to the right.
fn align(lines: &[Vec<String>]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for line in lines {
        let cell = |(column, text): (usize, &String)| {
            let width = width(column);
            if column == 0 { format!("{text:<width$}") } else { format!("  {text:>width$}") }
        };
        out.extend(line.iter().enumerate().map(cell));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(topic: Topic, correct: bool) -> Sample {
        Sample { kind: Kind::Closed, topic: Some(topic), correct: Some(correct), ..Sample::default() }
    }

    #[test]
    fn macro_weighs_topics_and_micro_weighs_samples() {
        let samples = [
            closed(Topic::Plane, true),
            closed(Topic::Plane, true),
            closed(Topic::Plane, false),
            closed(Topic::Organ, false),
        ];
        let tables = Tables::of(&samples.iter().collect::<Vec<_>>());
        let group = tables.closed.as_ref().unwrap();
        let accuracy = |averages: &Averages| averages.figures["accuracy"];
        assert!((accuracy(&group.macro_average) - 1.0 / 3.0).abs() < 1e-15);
        assert!((accuracy(&group.micro_average) - 0.5).abs() < 1e-15);
        assert_eq!((tables.open.is_none(), tables.captions.is_none()), (true, true));
        let wanted = "\
Closed-ended VQA  items  accuracy
plane                 3     66.67
organ                 1      0.00
macro average         4     33.33
micro average         4     50.00
";
        assert_eq!(text(&tables, "METEOR", None), wanted);
        let beside = Tables { closed: None, ..tables.clone() };
        assert!(
            text(&tables, "METEOR", Some((&beside, "blind"))).contains("plane                 3     66.67      -\n")
        );
    }
}
