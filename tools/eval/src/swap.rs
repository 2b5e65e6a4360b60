//! `--swap-guides`: every question's slices are weighed by another question, which shows whether its answer hangs on
//! its own slice scores.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use med2e3::TgisMode;
use med2e3::prompt::guiding_question;
use med2e3_loaders::ModelFolder;
use med2e3_loaders::config::Guide;

use crate::data::{Item, Kind, Topic};
use crate::error::{Error, Result};
use crate::lesions::{self, Figures, Rows, share};
use crate::results::{Finished, Sample};
use crate::tables::block;

/// Which question weighs the slices for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The next of another topic.
    Next,
    /// The next of this topic, which for captions is none; for questions of this topic as [`Swap::Next`].
    Topic(Option<Topic>),
}

impl FromStr for Swap {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "next" => Ok(Self::Next),
            "caption" => Ok(Self::Topic(None)),
            _ => Topic::named(text)
                .map(|topic| Self::Topic(Some(topic)))
                .ok_or_else(|| "wanted next, plane, phase, organ, abnormality, location or caption".to_owned()),
        }
    }
}

impl fmt::Display for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Next => f.write_str("next"),
            Self::Topic(topic) => f.write_str(topic.map_or("caption", Topic::name)),
        }
    }
}

/// Refuses a model whose slices no text weighs.
///
/// # Errors
/// Where `tgis` or the model's connector is such.
pub fn check(folder: &ModelFolder, tgis: TgisMode) -> Result<()> {
    let remedy = "leave out --swap-guides";
    if tgis != TgisMode::Checkpoint {
        return Err(Error::usage(format!("under --tgis no text weighs the slices, so none can be swapped; {remedy}")));
    }
    if ![Guide::BertPooler, Guide::LlmMean].into_iter().any(|guide| folder.config.scoring.is_guided_by(guide)) {
        let shown = folder.path.display();
        return Err(Error::usage(format!(
            "{shown}: no text weighs this model's slices, so none can be swapped; {remedy}"
        )));
    }
    Ok(())
}

/// For each item, what guides the next one about the same volume that `swap` allows; after the last comes the first.
/// Where a volume has none of the wanted topic, any other will do.
///
/// # Errors
/// Where all questions about a volume have one topic; the text names an item and `data`.
pub fn guides(items: &[Item], swap: Swap, data: &Path) -> Result<Vec<String>> {
    let mut volumes: HashMap<&str, Vec<&Item>> = HashMap::new();
    for item in items {
        volumes.entry(&item.volume).or_default().push(item);
    }
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut guides = Vec::new();
    for item in items {
        let asked = &volumes[item.volume.as_str()];
        let place = places.entry(&item.volume).or_default();
        *place += 1;
        let others = || asked.iter().cycle().skip(*place).take(asked.len()).filter(|next| topic(next) != topic(item));
        let wanted = match swap {
            Swap::Next => None,
            Swap::Topic(wanted) => others().find(|next| topic(next) == wanted),
        };
        let Some(next) = wanted.or_else(|| others().next()) else {
            let shown = data.display();
            let id = &item.id;
            let volume = &item.volume;
            let found = format!("item `{id}`: no question of another topic is asked about {volume}");
            return Err(Error::usage(format!("{shown}: {found}; leave out --swap-guides, or change --limit")));
        };
        guides.push(guiding_question(&next.conversation, next.question.as_deref()));
    }
    Ok(guides)
}

/// Captions are a topic of their own.
fn topic(item: &Item) -> Option<Topic> {
    item.topic.filter(|_| item.kind != Kind::Caption)
}

const ALL: &str = "all";

/// By topic, which questions about a lesion that were answered rightly before are not any more.
pub fn lost(now: &[Sample], before: &[Sample]) -> Rows {
    let before: HashMap<usize, &Sample> = before.iter().map(|sample| (sample.index, sample)).collect();
    let lost = |sample: &Sample| -> Option<[(&'static str, Figures); 2]> {
        let lesion = sample.truth.as_ref().is_some_and(|truth| truth.lesion.is_some()) && sample.is_about_lesion();
        before.get(&sample.index).filter(|before| lesion && before.is_right())?;
        let lost = vec![("lost", share(!sample.is_right()))];
        Some([(sample.topic?.name(), lost.clone()), (ALL, lost)])
    };
    lesions::averages(now.iter().filter_map(lost).flatten())
}

/// The rows of [`lost`] as a table.
pub fn text(lost: &Rows) -> String {
    let names = [Topic::Organ.name(), Topic::Abnormality.name(), Topic::Location.name(), ALL];
    block("Right with its own scores", &[("lost", "lost when swapped")], "", lesions::rows(lost, &names, None))
}

/// Whether `own` are the results of the same run without `--swap-guides`.
pub fn are_unswapped(own: &Finished, swapped: &Finished) -> bool {
    // These change what is kept or how words are compared, not the answers.
    const INDIFFERENT: [&str; 3] = ["slice_scores", "wordnet", "punkt"];
    let own = &own.identity;
    let swapped = &swapped.identity;
    let same = |name: &String| match name.as_str() {
        "swap_guides" => own.options.get(name).is_some_and(serde_json::Value::is_null),
        other => INDIFFERENT.contains(&other) || own.options.get(name) == swapped.options.get(name),
    };
    (&own.version, &own.model, &own.data) == (&swapped.version, &swapped.model, &swapped.data)
        && swapped.options.keys().all(same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;
    use crate::tables::Tables;
    use crate::truth::Truth;
    use med2e3::prompt::Conversation;
    use serde_json::{Value, json};

    fn item(volume: &str, kind: Kind, topic: Option<Topic>, asked: &str) -> Item {
        Item {
            id: asked.to_owned(),
            kind,
            topic,
            volume: volume.to_owned(),
            conversation: Conversation::single(format!("<image3d>\n{asked}")),
            question: (kind != Kind::Caption).then(|| asked.to_owned()),
            reference: String::new(),
            choice: None,
            truth: None,
        }
    }

    #[test]
    fn the_next_question_of_another_topic_guides() {
        let items = [
            item("a", Kind::Closed, Some(Topic::Plane), "plane, choices"),
            item("b", Kind::Open, Some(Topic::Phase), "phase"),
            item("a", Kind::Open, Some(Topic::Plane), "plane"),
            item("a", Kind::Open, Some(Topic::Organ), "organ"),
            item("b", Kind::Caption, None, "caption"),
            item("a", Kind::Open, Some(Topic::Location), "location"),
        ];
        let found = |swap: &str| guides(&items, swap.parse().unwrap(), Path::new("data.json")).unwrap();
        assert_eq!(found("next"), ["organ", "caption", "organ", "location", "phase", "plane, choices"]);
        assert_eq!(found("location"), ["location", "caption", "location", "location", "phase", "plane, choices"]);
        assert_eq!(found("plane")[3..], ["plane, choices", "phase", "plane, choices"]);
        assert_eq!(found("caption"), found("next"), "phase is next of a caption, which a has not");
        let refused = guides(&items[..3], Swap::Next, Path::new("data.json")).unwrap_err().to_string();
        assert!(refused.starts_with("data.json: item `plane, choices`: no question of another topic"), "{refused}");
    }

    fn sample(index: usize, topic: Topic, right: bool, lesion: bool) -> Sample {
        let lesion = lesion.then(|| "Cyst".to_owned());
        let truth = Some(Truth { lesion, side: None, slices: None });
        Sample { index, topic: Some(topic), kind: Kind::Closed, correct: Some(right), truth, ..Sample::default() }
    }

    #[test]
    fn lost_answers_were_right_before_and_are_about_a_lesion() {
        let open = |prediction: &str| Sample {
            prediction: prediction.into(),
            reference: "Left chest".into(),
            correct: None,
            kind: Kind::Open,
            ..sample(5, Topic::Location, true, true)
        };
        let before = [
            sample(0, Topic::Organ, true, true),
            sample(1, Topic::Organ, true, true),
            sample(2, Topic::Organ, false, true),
            sample(3, Topic::Plane, true, true),
            sample(4, Topic::Abnormality, true, false),
            open("left chest."),
        ];
        let mut now = before.clone().map(|sample| Sample { correct: Some(false), ..sample });
        now[1].correct = Some(true);
        now[2].correct = Some(true);
        now[5] = open("Left abdomen");
        let found = lost(&now, &before);
        let of = |name: &str| (found[name].items, found[name].figures["lost"]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["all", "location", "organ"]);
        assert_eq!((of("organ"), of("location"), of("all")), ((2, 0.5), (1, 1.0), (3, 2.0 / 3.0)));
        let printed = text(&found);
        assert!(printed.ends_with("all                            3              66.67\n"), "{printed}");
        assert!(lost(&now, &[]).is_empty());
    }

    fn results(data: &str, options: Value) -> Finished {
        let Value::Object(options) = options else { unreachable!("an object is given") };
        let of = |text: &str| text.to_owned();
        let identity = Identity { format: 1, version: of("1"), model: of("m"), data: of(data), options };
        Finished { identity, tables: Tables::of(&[]), samples: Vec::new() }
    }

    #[test]
    fn only_the_same_run_without_the_swap_is_compared() {
        let swapped = results("d", json!({"swap_guides": "next", "tgis": "checkpoint", "wordnet": false}));
        let own = |data: &str, swap: Option<&str>, tgis: &str, wordnet: bool| {
            let own = results(data, json!({"swap_guides": swap, "tgis": tgis, "wordnet": wordnet}));
            are_unswapped(&own, &swapped)
        };
        assert!(own("d", None, "checkpoint", true));
        assert!(!own("e", None, "checkpoint", false) && !own("d", Some("plane"), "checkpoint", false));
        assert!(!own("d", None, "uniform", false));
    }
}
