//! `eval`: every question of a data set, and the paper's tables.

mod data;
pub mod files;
mod identity;
mod lesions;
mod metrics;
mod results;
mod swap;
mod tables;
pub mod truth;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use med2e3::{
    Answer, DeviceChoice, EncodedVolume, Engine, LoadOptions, Precision, Question, Request, TextMlp, TgisMode,
};
use med2e3_loaders::ModelFolder;
use med2e3_loaders::volume::{self, VolumeOptions};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::device::{self, PrecisionChoice};
use crate::args::sampling;
use crate::args::volume::VolumeArgs;
use crate::failure::{Failure, Result};
use crate::generate::report;
use crate::output;
use crate::preprocess::CPU;
use crate::progress::Bars;
use data::{DataArgs, Item, Kind};
use identity::Identity;
use lesions::Rows;
use metrics::{Scorer, Sentences, WordNet};
use results::{Finished, Results, Sample};
use swap::Swap;
use tables::Tables;

/// Answer the questions of a data set and print the paper's tables
#[derive(Debug, Args)]
pub struct Eval {
    /// The model's folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    data: DataArgs,
    /// Keep every answer there; a run that was interrupted goes on where it was
    #[arg(long, value_name = "FILE.json")]
    out: Option<PathBuf>,
    /// Discard the results at --out and start anew
    #[arg(long, requires = "out")]
    restart: bool,
    /// Show the model an empty volume: what the questions alone give away
    #[arg(long)]
    blind: bool,
    /// Weigh the slices for every question by another one about the same volume: the next of another topic, or of the
    /// topic given; with the run without this --beside, shows how many right answers about a lesion get lost
    #[arg(long, value_name = "TOPIC", num_args = 0..=1, default_missing_value = "next", conflicts_with = "blind")]
    swap_guides: Option<Swap>,
    /// Show the figures of another run beside these, such as those of --blind
    #[arg(long, value_name = "FILE.json")]
    beside: Option<PathBuf>,
    /// Keep every slice's weight for every question; for items that say what their patient has they are kept anyway
    #[arg(long, requires = "out")]
    slice_scores: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// WordNet 3.0's dict folder, for METEOR's synonyms
    #[arg(long, value_name = "DIR")]
    wordnet: Option<PathBuf>,
    /// nltk's punkt_tab/english folder, for METEOR's sentences
    #[arg(long, value_name = "DIR")]
    punkt: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or emulated
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// exact never rounds an activation, fast may [default: exact for f32 checkpoints and small models]
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// How slices are weighted: checkpoint, uniform, max or random:SEED
    #[arg(long, value_name = "HOW", default_value = "checkpoint", value_parser = sampling::tgis)]
    tgis: TgisMode,
    /// Where the question's projection comes from: checkpoint or random:SEED
    #[arg(long, value_name = "FROM", default_value = "checkpoint", value_parser = sampling::text_mlp)]
    tgis_text_mlp: TextMlp,
    /// Stop after N new tokens [default: the model's limit]
    #[arg(long, value_name = "N", value_parser = sampling::at_least_one)]
    max_new_tokens: Option<usize>,
    /// Answer N questions about a volume at a time, 1 to 256; takes more memory, changes no answer
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = sampling::batch)]
    batch: usize,
    #[command(flatten)]
    how: VolumeArgs,
}

/// What `--json` prints. Field names are a public contract.
#[derive(Debug, Serialize)]
struct Report<'a> {
    items: usize,
    #[serde(flatten)]
    tables: &'a Tables,
    beside: Option<&'a Tables>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_by_swap: Option<&'a Rows>,
    options: &'a Map<String, Value>,
    notes: Vec<&'a str>,
}

/// Stands for a metric that the paper has and this program has not.
const NO_BERT_SCORE: &str = "BERTScore, which the paper's tables have too, is out of scope and not computed.";
const NO_SYNONYMS: &str = "METEOR matches words and stems; give WordNet with --wordnet for synonyms as well.";
const BLIND: &str = "The model was shown an empty volume.";
const SWAPPED: &str = "Every question's slices were weighed by another question.";

impl Eval {
    /// Answers what is not answered yet and prints the tables.
    pub fn run(&self) -> Result<()> {
        device::check(self.device)?;
        self.check_written()?;
        let items = data::read(&self.data)?;
        let sizes = self.check_volumes(&items)?;
        let scorer = self.scorer()?;
        let beside = self.beside.as_deref().map(read_beside).transpose()?;
        let folder = ModelFolder::open(&self.model)?;
        let guides = self.guides(&folder, &items)?;
        let identity = Identity::new(&self.model, &items, &sizes, self.identity_options(&folder)?)?;
        let mut results = Results::open(identity, self.out.as_deref(), self.restart)?;
        results.check_items(&items)?;
        let known = results.done.len();
        if known < items.len() {
            if known > 0 {
                output::note(&format!("{known} of {} questions are answered already", items.len()));
            }
            self.answer_all(&folder, &Asked { items: &items, guides, scorer }, &mut results)?;
        }
        self.print(&results.finish()?, beside.as_ref())
    }

    /// Refuses to write over an input.
    fn check_written(&self) -> Result<()> {
        let inputs = [Some(&self.model), Some(&self.data.data), self.data.answers.as_ref()];
        let data_sets = [self.wordnet.as_ref(), self.punkt.as_ref()];
        for input in inputs.into_iter().chain(data_sets).flatten() {
            for target in self.out.iter().flat_map(|out| results::written(out)) {
                output::check_not_input(&target, input)?;
            }
        }
        Ok(())
    }

    /// What weighs the slices for each question, where it is not the question.
    fn guides(&self, folder: &ModelFolder, items: &[Item]) -> Result<Option<Vec<String>>> {
        let Some(swap) = self.swap_guides else { return Ok(None) };
        swap::check(folder, self.tgis)?;
        swap::guides(items, swap, &self.data.data).map(Some)
    }

    /// Every volume once, in the order of first use, with its size; one that is missing ends the run before it starts.
    fn check_volumes<'a>(&self, items: &'a [Item]) -> Result<Vec<(&'a str, u64)>> {
        let mut sizes: Vec<(&str, u64)> = Vec::new();
        let mut known = HashSet::new();
        for item in items.iter().filter(|item| known.insert(item.volume.as_str())) {
            let path = self.data.volumes.join(&item.volume);
            let found = std::fs::metadata(&path).map_err(|error| {
                let (shown, id, data) = (path.display(), &item.id, self.data.data.display());
                Failure::input(format!(
                    "{shown}: cannot open ({error}), but item `{id}` of {data} asks about it; \
                                        check --volumes"
                ))
            })?;
            for target in self.out.iter().flat_map(|out| results::written(out)) {
                output::check_outside(&target, &path)?;
            }
            sizes.push((&item.volume, if found.is_file() { found.len() } else { 0 }));
        }
        Ok(sizes)
    }

    fn scorer(&self) -> Result<Scorer> {
        Ok(Scorer {
            sentences: self.punkt.as_deref().map(Sentences::read).transpose()?.unwrap_or_default(),
            wordnet: self.wordnet.as_deref().map(WordNet::read).transpose()?,
        })
    }

    /// Everything but the model and the items that changes answers or scores.
    fn identity_options(&self, folder: &ModelFolder) -> Result<Map<String, Value>> {
        let device = self.device.open(self.precision.map(Precision::from), folder)?.describe();
        let VolumeArgs { window, slice_order, index, allow_gaps } = &self.how;
        let options = json!({
            "blind": self.blind,
            "swap_guides": self.swap_guides.map(|swap| swap.to_string()),
            "device": device,
            "tgis": format!("{:?}", self.tgis).to_lowercase(),
            "tgis_text_mlp": format!("{:?}", self.tgis_text_mlp).to_lowercase(),
            "max_new_tokens": self.max_new_tokens,
            "slice_scores": self.slice_scores,
            "wordnet": self.wordnet.is_some(),
            "punkt": self.punkt.is_some(),
            "window": window.to_string(),
            "model_window": folder.window,
            "slice_order": format!("{slice_order:?}").to_lowercase(),
            "index": index,
            "allow_gaps": allow_gaps,
        });
        match options {
            Value::Object(options) => Ok(options),
            _ => unreachable!("the literal is an object"),
        }
    }

    /// Loads the model and answers, volume by volume, what `results` does not have.
    fn answer_all(&self, folder: &ModelFolder, asked: &Asked<'_>, results: &mut Results) -> Result<()> {
        let mut bars = Bars::new();
        let device = self.device.open(self.precision.map(Precision::from), folder)?;
        let (batch, tgis, text_mlp) = (self.batch, self.tgis, self.tgis_text_mlp);
        let load = LoadOptions { batch, tgis, text_mlp, ..LoadOptions::default() };
        let mut engine = Engine::load(device, folder, &load, &mut |p| bars.show(p.stage, p.done, p.total))?;
        bars.clear();
        folder.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
        let total = asked.items.len() as u64;
        bars.show(QUESTIONS, results.done.len() as u64, total);
        let options = self.how.options(folder.window);
        for group in groups(asked.items, &results.done, self.blind) {
            let seen = self.encode(&mut engine, &asked.items[group[0]], &options, &bars)?;
            for indices in group.chunks(self.batch) {
                // Answers that were ready when another question failed are kept: the next run goes on behind them.
                let mut samples = Vec::with_capacity(indices.len());
                let mut failure = None;
                for sample in self.answer(&mut engine, &seen, indices, asked)? {
                    match sample {
                        Ok(sample) => samples.push(sample),
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
                results.keep(samples)?;
                if let Some(failure) = failure {
                    return Err(failure);
                }
                bars.show(QUESTIONS, results.done.len() as u64, total);
            }
        }
        Ok(())
    }

    fn encode(&self, engine: &mut Engine, item: &Item, options: &VolumeOptions, bars: &Bars) -> Result<Seen> {
        if self.blind {
            let [slices, height, width] = engine.img_size();
            let encoded = engine.encode(&vec![0.0; slices * height * width], &mut |_| ())?;
            return Ok(Seen { encoded, sources: (0..slices).map(|slice| [slice, slice]).collect() });
        }
        let raw = volume::read_volume(&self.data.volumes.join(&item.volume), options)?;
        // Not the engine's device, whose memory was planned without a scan; the bits are the same.
        let prepared = med2e3::prepare(&CPU, &raw, engine.img_size(), options)?;
        for warning in &prepared.warnings {
            bars.note(&format!("warning: {}: {warning}", item.volume));
        }
        let encoded = engine.encode(&prepared.voxels, &mut |_| ())?;
        Ok(Seen { encoded, sources: prepared.source_slices })
    }

    /// A result for each of the questions.
    fn answer(
        &self,
        engine: &mut Engine,
        seen: &Seen,
        indices: &[usize],
        asked: &Asked<'_>,
    ) -> Result<Vec<Result<Sample>>> {
        let requests = indices.iter().map(|&index| self.request(engine, index, asked)).collect::<Result<Vec<_>>>()?;
        let question = |request| Question { volume: &seen.encoded, request };
        let questions: Vec<Question<'_>> = requests.iter().map(question).collect();
        let answers = engine.ask_many(&questions, &mut |_, _| ControlFlow::Continue(()));
        let sample = |(&index, answer): (&usize, med2e3::Result<Answer>)| {
            let item: &Item = &asked.items[index];
            let truth = item.truth.as_ref().map(|truth| truth.on_input(&seen.sources));
            Ok(Sample { truth, ..self.judge(index, item, answer?, &asked.scorer) })
        };
        Ok(indices.iter().zip(answers).map(sample).collect())
    }

    /// What an item asks, if the model can answer it.
    fn request(&self, engine: &Engine, index: usize, asked: &Asked<'_>) -> Result<Request> {
        let item = &asked.items[index];
        let request = Request {
            conversation: item.conversation.clone(),
            question: asked.guides.as_ref().map(|guides| guides[index].clone()).or(item.question.clone()),
            max_new_tokens: self.max_new_tokens,
            ..Request::new("")
        };
        engine.check(&request).map_err(|error| {
            let Failure { status, message } = error.into();
            let data = self.data.data.display();
            Failure { status, message: format!("{data}: item `{}`: {message}", item.id) }
        })?;
        Ok(request)
    }

    /// The answer and how good it is.
    fn judge(&self, index: usize, item: &Item, answer: Answer, scorer: &Scorer) -> Sample {
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
            finish_reason: report::finish_reason(answer.finish_reason).to_owned(),
            correct: closed.then(|| item.choice.is_some_and(|choice| choice.is_in(&prediction))),
            scores: (!closed).then(|| scorer.text(&item.reference, &prediction)),
            prediction,
            top_slice: answer.slice_scores.as_deref().and_then(report::top_slice),
            slice_scores: answer.slice_scores.filter(|_| self.slice_scores || item.truth.is_some()),
            truth: None,
        }
    }

    fn print(&self, finished: &Finished, beside: Option<&Finished>) -> Result<()> {
        let (tables, options) = (&finished.tables, &finished.identity.options);
        let unswapped = beside.filter(|beside| self.swap_guides.is_some() && swap::are_unswapped(beside, finished));
        let lost = unswapped.map(|own| swap::lost(&finished.samples, &own.samples));
        let words = tables.open.is_some() || tables.captions.is_some();
        let notes = [
            (words, NO_BERT_SCORE),
            (words && self.wordnet.is_none(), NO_SYNONYMS),
            (self.blind, BLIND),
            (self.swap_guides.is_some(), SWAPPED),
        ];
        let notes: Vec<&str> = notes.into_iter().filter(|(holds, _)| *holds).map(|(_, note)| note).collect();
        if self.json {
            let (items, beside) = (finished.samples.len(), beside.map(|beside| &beside.tables));
            return output::print_json(&Report { items, tables, beside, lost_by_swap: lost.as_ref(), options, notes });
        }
        let meteor = if self.wordnet.is_some() { "METEOR" } else { "METEOR (no synonyms)" };
        let beside = beside.map(|beside| (&beside.tables, label(beside)));
        let mut text = tables::print(tables, meteor, beside);
        text.extend(lost.iter().flat_map(|lost| ["\n".to_owned(), swap::print(lost)]));
        text.extend(notes.iter().flat_map(|note| ["\n", note]));
        output::print(text.trim_end()).and_then(|_| output::print("\n")).map(|_| ())
    }
}

/// What is asked, and what its answers are compared with.
struct Asked<'a> {
    items: &'a [Item],
    /// What weighs the slices, where it is not the question itself.
    guides: Option<Vec<String>>,
    scorer: Scorer,
}

/// A volume as the model sees it.
struct Seen {
    encoded: EncodedVolume,
    /// First and last slice of the file that each of the model's is made from.
    sources: Vec<[usize; 2]>,
}

/// The label of the bar over all questions.
const QUESTIONS: &str = "questions";

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

fn read_beside(path: &Path) -> Result<Finished> {
    let missing = || Failure::input(format!("{}: there are no results; run eval with --out first", path.display()));
    results::read_finished(path)?.ok_or_else(missing)
}

/// What stands over the columns of another run.
fn label(beside: &Finished) -> &'static str {
    let is = |option: &str| beside.identity.options.get(option) == Some(&Value::Bool(true));
    if is("blind") { "blind" } else { "beside" }
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
}
