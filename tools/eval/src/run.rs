//! A run over the items of a data set: each volume is encoded once, and its questions are answered and judged.

use std::collections::{BTreeMap, HashMap};

use med2e3::{Answer, Cpu, Engine, Precision, Request, Volume};
use med2e3_loaders::volume::{self, VolumeOptions};

use crate::data::{Item, Kind, Source};
use crate::error::{Error, Result};
use crate::metrics::{Choice, Scorer};
use crate::results::{Results, Sample, ScoredChoice};

/// What is asked, how, and what the answers are compared with.
#[derive(Debug)]
pub struct Run<'a> {
    /// The questions.
    pub items: &'a [Item],
    /// Where the items are from, and where their volumes are.
    pub source: &'a Source,
    /// For each item the text that weighs the slices, where it is not the question itself.
    pub guides: Option<Vec<String>>,
    /// Judges answers in free words.
    pub scorer: Scorer,
    /// How volumes are read.
    pub volume_options: VolumeOptions,
    /// Whether the model sees an empty volume instead.
    pub blind: bool,
    /// Whether every sample keeps the weights of its slices; those with the truth about their patient always do.
    pub slice_scores: bool,
    /// Whether the choices of closed questions are scored too.
    pub score_choices: bool,
    /// The limit on an answer's tokens; the model's own where absent.
    pub max_new_tokens: Option<usize>,
    /// How many questions about a volume are answered at a time; at most the engine's batch.
    pub batch: usize,
}

/// What happens during a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The number of items that have an answer by now.
    Answered(usize),
    /// Something about a volume that its reader should know.
    Warning {
        /// Its path, as in the data file.
        volume: &'a str,
        /// One sentence.
        text: &'a str,
    },
}

/// A volume as the model sees it.
struct Seen {
    encoded: Volume,
    /// First and last slice of the file that each of the model's is made from.
    sources: Vec<[usize; 2]>,
}

impl Run<'_> {
    /// Answers, volume by volume, what `results` does not have yet, and keeps each answer there.
    ///
    /// # Errors
    /// Where a volume cannot be read, a question cannot be asked, or the engine or the disk fails. Answers that were
    /// ready by then are kept: the next run goes on behind them.
    pub fn answer(&self, engine: &Engine, results: &mut Results, on_event: &mut dyn FnMut(Event<'_>)) -> Result<()> {
        on_event(Event::Answered(results.done.len()));
        for group in groups(self.items, &results.done, self.blind) {
            let seen = self.encode(engine, &self.items[group[0]], on_event)?;
            for indices in group.chunks(self.batch) {
                let mut samples = Vec::with_capacity(indices.len());
                let mut failure = None;
                for sample in self.ask(engine, &seen, indices)? {
                    match sample {
                        Ok(sample) => samples.push(sample),
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
                results.keep(samples)?;
                if let Some(failure) = failure {
                    return Err(failure);
                }
                on_event(Event::Answered(results.done.len()));
            }
        }
        Ok(())
    }

    fn encode(&self, engine: &Engine, item: &Item, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Seen> {
        if self.blind {
            let [slices, height, width] = engine.img_size();
            let encoded = engine.encode(vec![0.0; slices * height * width])?;
            return Ok(Seen { encoded, sources: (0..slices).map(|slice| [slice, slice]).collect() });
        }
        let raw = volume::read_volume(&self.source.volumes.join(&item.volume), &self.volume_options)?;
        // Not the engine's device, whose memory was planned without a scan; the bits are the same.
        let cpu = Cpu { precision: Precision::Exact };
        let prepared = med2e3::prepare(&cpu, &raw, engine.img_size(), &self.volume_options)?;
        for text in &prepared.warnings {
            on_event(Event::Warning { volume: &item.volume, text });
        }
        let encoded = engine.encode(prepared.voxels)?;
        Ok(Seen { encoded, sources: prepared.source_slices })
    }

    /// A result for each of the questions.
    fn ask(&self, engine: &Engine, seen: &Seen, indices: &[usize]) -> Result<Vec<Result<Sample>>> {
        let requests = indices.iter().map(|&index| self.request(engine, index)).collect::<Result<Vec<_>>>()?;
        let asked = engine.submit_all(requests.iter().map(|request| (&seen.encoded, request.clone())));
        let answers: Vec<_> = asked.into_iter().map(|answering| answering?.finish()).collect();
        let sample = |((&index, request), answer): ((&usize, &Request), med2e3::Result<Answer>)| {
            let truth = self.items[index].truth.as_ref().map(|truth| truth.on_input(&seen.sources));
            let mut sample = Sample { truth, ..self.judge(index, answer?) };
            sample.scored = self.choose(engine, seen, request, &sample)?;
            Ok(sample)
        };
        Ok(indices.iter().zip(&requests).zip(answers).map(sample).collect())
    }

    /// The most likely of the choices that a closed question lists.
    fn choose(&self, engine: &Engine, seen: &Seen, request: &Request, sample: &Sample) -> Result<Option<ScoredChoice>> {
        let item = &self.items[sample.index];
        let Some(choice) = item.choice.filter(|_| self.score_choices) else { return Ok(None) };
        let mut listed = choice.listed(&sample.question);
        let scoring = engine.score(&seen.encoded, request.clone(), &listed)?;
        let best = listed.swap_remove(scoring.best);
        let named = Choice::of_answer(&best).is_some_and(|choice| choice.is_in(&sample.prediction));
        Ok(Some(ScoredChoice { correct: choice.is_in(&best), agrees: named, choice: best }))
    }

    /// Refuses, before any work is done, closed questions whose choices are to be scored and are not listed.
    ///
    /// # Errors
    /// Where there is such a question; the text names it.
    pub fn check(&self) -> Result<()> {
        let asked = |item: &Item| item.conversation.turns.last().map_or("", |turn| turn.question.as_str()).to_owned();
        let unlisted = |item: &&Item| item.choice.is_some_and(|choice| choice.listed(&asked(item)).is_empty());
        match self.items.iter().find(unlisted).filter(|_| self.score_choices) {
            Some(item) => Err(Error::input(format!(
                "{}: item `{}`: its question lists no choices to score, as in `Choices: A. ... B. ...`; leave out \
                 --closed scored, or list them",
                self.source.data.display(),
                item.id
            ))),
            None => Ok(()),
        }
    }

    /// What an item asks, if the model can answer it.
    fn request(&self, engine: &Engine, index: usize) -> Result<Request> {
        let item = &self.items[index];
        let request = Request {
            conversation: item.conversation.clone(),
            guide: self.guides.as_ref().map(|guides| guides[index].clone()).or(item.question.clone()),
            max_new_tokens: self.max_new_tokens,
            ..Request::new("")
        };
        engine.check(&request).map_err(|error| {
            let about = format!("{}: item `{}`", self.source.data.display(), item.id);
            Error::Engine { about: Some(about), error }
        })?;
        Ok(request)
    }

    /// The answer and how good it is.
    fn judge(&self, index: usize, answer: Answer) -> Sample {
        let item = &self.items[index];
        let prediction = answer.text.trim().to_owned();
        let closed = item.kind == Kind::Closed;
        let asked = item.conversation.turns.last().map_or("", |turn| turn.question.as_str());
        Sample {
            index,
            id: item.id.clone(),
            kind: item.kind,
            topic: item.topic,
            volume: item.volume.clone(),
            question: asked.replace(med2e3::prompt::IMAGE_PLACEHOLDER, "").trim().to_owned(),
            reference: item.reference.clone(),
            finish_reason: answer.finish_reason.name().to_owned(),
            correct: closed.then(|| item.choice.is_some_and(|choice| choice.is_in(&prediction))),
            scored: None,
            scores: (!closed).then(|| self.scorer.text(&item.reference, &prediction)),
            prediction,
            top_slice: answer.slice_scores.as_deref().and_then(top_slice),
            slice_scores: answer.slice_scores.filter(|_| self.slice_scores || item.truth.is_some()),
            truth: None,
        }
    }
}

/// The slice with the highest score, the first of equals.
fn top_slice(scores: &[f32]) -> Option<usize> {
    // `max_by` takes the last of equals.
    (0..scores.len()).rev().max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
}

/// The unanswered items of each volume, so that each is encoded once; all are of one where the model sees none.
fn groups(items: &[Item], done: &BTreeMap<usize, Sample>, blind: bool) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut place = HashMap::new();
    for (index, item) in items.iter().enumerate().filter(|(index, _)| !done.contains_key(index)) {
        let key = if blind { "" } else { item.volume.as_str() };
        let group = *place.entry(key).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(index);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use med2e3::prompt::Conversation;

    #[test]
    fn questions_about_one_volume_stay_together() {
        let item = |volume: &str| Item {
            id: String::new(),
            kind: Kind::Open,
            topic: None,
            volume: volume.to_owned(),
            conversation: Conversation::single("?"),
            question: None,
            reference: String::new(),
            choice: None,
            truth: None,
        };
        let items = ["a", "b", "a", "c", "b"].map(item);
        let mut done = BTreeMap::new();
        assert_eq!(groups(&items, &done, false), [vec![0, 2], vec![1, 4], vec![3]]);
        done.insert(1, Sample::default());
        assert_eq!(groups(&items, &done, false), [vec![0, 2], vec![3], vec![4]]);
        assert_eq!(groups(&items, &done, true), [vec![0, 2, 3, 4]]);
    }

    #[test]
    fn the_first_of_equal_slices_is_the_top_one() {
        assert_eq!(top_slice(&[0.1, 0.4, 0.1, 0.4]), Some(1));
        assert_eq!(top_slice(&[]), None);
    }
}
