//! What patients whose findings are known tell of a model: where its slice scores lie, whether they follow the
//! question, and what its captions name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::{Kind, Topic};
use crate::results::Sample;
use crate::tables::{Averages, Column, Row, block};
use crate::truth::Truth;

/// Averages by the row's name.
pub type Rows = BTreeMap<String, Averages>;

/// Averages over the samples that carry the truth about their patient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Lesions {
    /// By topic: what of the slice scores lies on the lesion.
    pub slice_scores: Rows,
    /// What captions name, of patients with a lesion and without.
    pub captions: Rows,
    /// How far the slice scores of two questions about one volume are apart.
    pub distances: Rows,
}

/// Names of rows, in the order of print.
const SCORED: [&str; 6] = ["plane", "phase", "organ", "abnormality", "location", CAPTIONS];
const CAPTIONS: &str = "captions";
const LESION: &str = "with a lesion";
const NO_LESION: &str = "without a lesion";
const ALL_PAIRS: &str = "different topics";
const LESION_AND_SCAN: &str = "lesion, and plane or phase";

impl Lesions {
    /// Nothing where no sample carries the truth.
    pub fn of(samples: &[&Sample]) -> Option<Self> {
        let known: Vec<Known<'_>> = samples.iter().filter_map(|sample| Known::of(sample)).collect();
        (!known.is_empty()).then(|| Self {
            slice_scores: averages(known.iter().filter_map(Known::slice_scores)),
            captions: averages(known.iter().filter_map(Known::caption)),
            distances: averages(pairs(&known).into_iter().flat_map(|(a, b)| distances(a, b))),
        })
    }

    /// The tables, with another run's figures beside them.
    pub fn text(&self, other: Option<&Self>, label: &str) -> Vec<String> {
        let scored = [("top_slice", "top slice"), ("mass", "mass"), ("chance", "chance")];
        let said = [("lesion", "lesion"), ("side", "side"), ("both", "both")];
        let parts: [(&str, &[Column<'_>], &[&str], Part); 3] = [
            ("Slice scores on the lesion", &scored, &SCORED, |all| &all.slice_scores),
            ("Captions that name", &said, &[LESION, NO_LESION], |all| &all.captions),
            ("Slice scores' distance", &[("distance", "distance")], &[ALL_PAIRS, LESION_AND_SCAN], |all| {
                &all.distances
            }),
        ];
        let text = |(title, columns, names, part): (&str, &[Column<'_>], &[&str], Part)| {
            let rows = rows(part(self), names, other.map(part));
            (!rows.is_empty()).then(|| block(title, columns, label, rows))
        };
        parts.into_iter().filter_map(text).collect()
    }
}

type Part = fn(&Lesions) -> &Rows;

/// A table's rows in order, as far as there are any.
pub(crate) fn rows<'a>(from: &'a Rows, names: &[&'a str], other: Option<&'a Rows>) -> Vec<Row<'a>> {
    let row = |name: &&'a str| Some((*name, from.get(*name)?, other.and_then(|other| other.get(*name))));
    names.iter().filter_map(row).collect()
}

/// One item's figures by name.
pub(crate) type Figures = Vec<(&'static str, f64)>;

/// The mean figures of each row.
pub(crate) fn averages(items: impl Iterator<Item = (&'static str, Figures)>) -> Rows {
    let mut rows: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
    for (name, figures) in items {
        rows.entry(name).or_default().push(figures);
    }
    rows.into_iter().map(|(name, figures)| (name.to_owned(), Averages::mean(figures.into_iter()))).collect()
}

/// A sample and what is known of its patient.
#[derive(Clone, Copy)]
struct Known<'a> {
    sample: &'a Sample,
    truth: &'a Truth,
}

impl<'a> Known<'a> {
    fn of(sample: &'a Sample) -> Option<Self> {
        Some(Self { sample, truth: sample.truth.as_ref()? })
    }

    /// Captions are a topic of their own here.
    fn topic(&self) -> &'static str {
        if self.sample.kind == Kind::Caption { CAPTIONS } else { self.sample.topic.unwrap_or(Topic::Other).name() }
    }

    fn slice_scores(&self) -> Option<(&'static str, Figures)> {
        let shares = self.truth.shares(self.sample.slice_scores.as_deref()?)?;
        let top = self.truth.touches(self.sample.top_slice?);
        Some((self.topic(), vec![("top_slice", share(top)), ("mass", shares.mass), ("chance", shares.chance)]))
    }

    fn caption(&self) -> Option<(&'static str, Figures)> {
        if self.sample.kind != Kind::Caption {
            return None;
        }
        let said = self.truth.said(&self.sample.prediction);
        Some(if self.truth.lesion.is_some() {
            let both = said.lesion && said.side;
            (LESION, vec![("lesion", share(said.lesion)), ("side", share(said.side)), ("both", share(both))])
        } else {
            (NO_LESION, vec![("lesion", share(said.lesion))])
        })
    }
}

/// Pairs of questions of different topics about one volume.
fn pairs<'a>(known: &[Known<'a>]) -> Vec<(Known<'a>, Known<'a>)> {
    let mut volumes: BTreeMap<&str, Vec<Known<'a>>> = BTreeMap::new();
    for one in known {
        volumes.entry(&one.sample.volume).or_default().push(*one);
    }
    let of = |asked: &Vec<Known<'a>>| {
        let others = asked.iter().enumerate().flat_map(|(index, a)| asked[index + 1..].iter().map(move |b| (*a, *b)));
        others.filter(|(a, b)| a.topic() != b.topic()).collect::<Vec<_>>()
    };
    volumes.values().flat_map(of).collect()
}

/// The rows that a pair counts for: half the sum of what two questions' scores differ by, 0 if they agree and 1 if they
/// share no slice.
fn distances(a: Known<'_>, b: Known<'_>) -> Vec<(&'static str, Figures)> {
    let (Some(of_a), Some(of_b)) = (&a.sample.slice_scores, &b.sample.slice_scores) else { return Vec::new() };
    if of_a.len() != of_b.len() {
        return Vec::new();
    }
    let apart = of_a.iter().zip(of_b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum::<f64>() / 2.0;
    let lesion = |one: &Known<'_>| one.truth.lesion.is_some() && one.sample.is_about_lesion();
    let scan = |one: &Known<'_>| matches!(one.sample.topic, Some(Topic::Plane | Topic::Phase));
    let both = (lesion(&a) && scan(&b)) || (scan(&a) && lesion(&b));
    let mut rows = vec![(ALL_PAIRS, vec![("distance", apart)])];
    rows.extend(both.then(|| (LESION_AND_SCAN, vec![("distance", apart)])));
    rows
}

/// What a yes counts in a share.
pub(crate) fn share(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(lesion: bool) -> Truth {
        let word = |text: &str| lesion.then(|| text.to_owned());
        Truth { lesion: word("Cyst"), side: word("Left"), slices: lesion.then_some([1, 2]) }
    }

    fn asked(volume: &str, topic: Topic, lesion: bool, scores: [f32; 4]) -> Sample {
        let top = (0..4).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        Sample {
            topic: Some(topic),
            volume: volume.into(),
            truth: Some(truth(lesion)),
            top_slice: top,
            slice_scores: Some(scores.to_vec()),
            ..Sample::default()
        }
    }

    fn caption(text: &str, lesion: bool) -> Sample {
        Sample { kind: Kind::Caption, prediction: text.into(), truth: Some(truth(lesion)), ..Sample::default() }
    }

    fn of(samples: &[Sample]) -> Lesions {
        Lesions::of(&samples.iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn scores_are_counted_by_topic_where_there_is_a_lesion() {
        let found = of(&[
            asked("a", Topic::Organ, true, [0.0, 0.5, 0.25, 0.25]),
            asked("b", Topic::Organ, true, [0.5, 0.25, 0.0, 0.25]),
            asked("c", Topic::Abnormality, false, [1.0, 0.0, 0.0, 0.0]),
            Sample { truth: Some(truth(true)), topic: Some(Topic::Plane), ..Sample::default() },
        ]);
        assert_eq!(found.slice_scores.keys().collect::<Vec<_>>(), ["organ"]);
        let organ = &found.slice_scores["organ"];
        let figures = [organ.figures["top_slice"], organ.figures["mass"], organ.figures["chance"]];
        assert_eq!((organ.items, figures), (2, [0.5, 0.5, 0.5]));
        assert!(Lesions::of(&[&Sample::default()]).is_none(), "nothing is known");
    }

    #[test]
    fn distances_are_between_topics_of_one_volume() {
        let found = of(&[
            asked("a", Topic::Plane, true, [1.0, 0.0, 0.0, 0.0]),
            asked("a", Topic::Organ, true, [0.0, 1.0, 0.0, 0.0]),
            asked("a", Topic::Organ, true, [0.0, 0.0, 1.0, 0.0]),
            asked("a", Topic::Location, true, [0.0, 0.5, 0.5, 0.0]),
            asked("b", Topic::Phase, false, [0.5, 0.0, 0.0, 0.5]),
            asked("b", Topic::Abnormality, false, [0.25, 0.0, 0.0, 0.75]),
        ]);
        // a: plane with three others 1 each, location with each organ 0.5; b: 0.25, without a lesion.
        let all = &found.distances[ALL_PAIRS];
        assert_eq!((all.items, all.figures["distance"]), (6, (3.0 + 2.0 * 0.5 + 0.25) / 6.0));
        let lesion = &found.distances[LESION_AND_SCAN];
        assert_eq!((lesion.items, lesion.figures["distance"]), (3, 1.0));
    }

    #[test]
    fn captions_are_counted_by_what_they_name_and_printed() {
        let found = of(&[
            caption("Axial CT. Cyst of the liver in the left abdomen.", true),
            caption("Axial CT. Cyst of the liver in the right abdomen.", true),
            caption("Axial CT. No lesion.", false),
            asked("a", Topic::Organ, true, [0.0, 0.5, 0.25, 0.25]),
            asked("a", Topic::Plane, true, [0.0, 0.5, 0.25, 0.25]),
        ]);
        let wanted = "\
Captions that name  items  lesion   side   both
with a lesion           2  100.00  50.00  50.00
without a lesion        1  100.00      -      -
";
        let printed = found.text(None, "");
        assert_eq!((printed.len(), printed[1].as_str()), (3, wanted));
        let order: Vec<&str> = printed[0].lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(order, ["Slice", "plane", "organ"]);
        assert!(printed[2].contains("lesion, and plane or phase      1      0.00\n"), "{}", printed[2]);
        let beside = found.text(Some(&Lesions::default()), "blind");
        assert!(beside[1].contains("both  blind\nwith a lesion           2  100.00      -"), "{}", beside[1]);
    }
}
