//! `eval`: every question of a data set, and the paper's tables.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use med2e3::{DeviceChoice, Engine, LoadOptions, Precision, TextMlp, TgisMode};
use med2e3_eval::data::{self, Item, Source};
use med2e3_eval::identity::Identity;
use med2e3_eval::lesions::Rows;
use med2e3_eval::metrics::{Scorer, Sentences, WordNet};
use med2e3_eval::results::{self, Finished, Results};
use med2e3_eval::run::{Event, Run};
use med2e3_eval::swap::{self, Swap};
use med2e3_eval::tables::{self, Tables};
use med2e3_loaders::ModelFolder;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::args::data::DataArgs;
use crate::args::device::{self, PrecisionChoice};
use crate::args::sampling;
use crate::args::volume::VolumeArgs;
use crate::failure::{Failure, Result};
use crate::output::{self, Then};
use crate::progress::Bars;

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
    /// Judge closed questions by what the model writes, which is the official rule, or show beside that which of the
    /// listed choices it finds most likely, and how often the two agree
    #[arg(long, value_enum, default_value_t = ClosedChoice::Generated)]
    closed: ClosedChoice,
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

/// How closed questions are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClosedChoice {
    /// By what the model writes
    Generated,
    /// By that, and by the most likely of the listed choices
    Scored,
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
        let source = self.data.source();
        self.check_written(&source)?;
        let items = data::read(&source)?;
        let volumes = data::volumes(&items, &source)?;
        for volume in &volumes {
            for target in self.written() {
                output::check_outside(&target, &source.volumes.join(volume.name))?;
            }
        }
        let scorer = self.scorer()?;
        let beside = self.beside.as_deref().map(read_beside).transpose()?;
        let folder = ModelFolder::open(&self.model)?;
        let guides = self.guides(&folder, &items, &source)?;
        let identity = Identity::new(&self.model, &items, &volumes, self.identity_options(&folder)?)?;
        self.written().try_for_each(|file| output::check_target(&file, true))?;
        let mut results = Results::open(identity, self.out.as_deref(), self.restart)?;
        results.check_items(&items)?;
        let known = results.done.len();
        if known < items.len() {
            if known > 0 {
                output::note(&format!("{known} of {} questions are answered already", items.len()));
            }
            let run = Run {
                items: &items,
                source: &source,
                guides,
                scorer,
                volume_options: self.how.options(folder.window),
                blind: self.blind,
                slice_scores: self.slice_scores,
                score_choices: self.closed == ClosedChoice::Scored,
                max_new_tokens: self.max_new_tokens,
                batch: self.batch,
            };
            run.check()?;
            self.answer(&folder, &run, &mut results)?;
        }
        let finished = results.finish(|path, bytes| output::write_bytes(path, true, Then::More, bytes))?;
        self.print(&finished, beside.as_ref())
    }

    /// The files that this run writes.
    fn written(&self) -> impl Iterator<Item = PathBuf> {
        self.out.iter().flat_map(|out| results::written(out))
    }

    /// Refuses to write over an input.
    fn check_written(&self, source: &Source) -> Result<()> {
        let inputs = [Some(&self.model), Some(&source.data), source.answers.as_ref()];
        let data_sets = [self.wordnet.as_ref(), self.punkt.as_ref()];
        for input in inputs.into_iter().chain(data_sets).flatten() {
            for target in self.written() {
                output::check_not_input(&target, input)?;
            }
        }
        Ok(())
    }

    /// What weighs the slices for each question, where it is not the question.
    fn guides(&self, folder: &ModelFolder, items: &[Item], source: &Source) -> Result<Option<Vec<String>>> {
        let Some(swap) = self.swap_guides else { return Ok(None) };
        swap::check(folder, self.tgis)?;
        Ok(Some(swap::guides(items, swap, &source.data)?))
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
        let VolumeArgs { window, slice_order, series, index, allow_gaps } = &self.how;
        let mut options = json!({
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
        if let Some(series) = series {
            options["series"] = json!(series);
        }
        if self.closed == ClosedChoice::Scored {
            // Results without it were made when there was no other way, and can still be taken up.
            options["closed"] = json!("scored");
        }
        match options {
            Value::Object(options) => Ok(options),
            _ => unreachable!("the literal is an object"),
        }
    }

    /// Loads the model and answers what `results` does not have.
    fn answer(&self, folder: &ModelFolder, run: &Run<'_>, results: &mut Results) -> Result<()> {
        let mut bars = Bars::new();
        let device = self.device.open(self.precision.map(Precision::from), folder)?;
        let batch = self.batch;
        let tgis = self.tgis;
        let text_mlp = self.tgis_text_mlp;
        let load = LoadOptions { batch, volumes: 1, tgis, text_mlp, ..LoadOptions::default() };
        let engine = Engine::load(device, folder, &load, &mut |progress| bars.follow(progress))?;
        bars.clear();
        folder.warnings.iter().for_each(|warning| output::note(&format!("warning: {warning}")));
        let total = run.items.len() as u64;
        Ok(run.answer(&engine, results, &mut |event| match event {
            Event::Answered(count) => bars.show(QUESTIONS, count as u64, total),
            Event::Warning { volume, text } => bars.note(&format!("warning: {volume}: {text}")),
        })?)
    }

    fn print(&self, finished: &Finished, beside: Option<&Finished>) -> Result<()> {
        let tables = &finished.tables;
        let options = &finished.identity.options;
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
            let items = finished.samples.len();
            let beside = beside.map(|beside| &beside.tables);
            return output::print_json(&Report { items, tables, beside, lost_by_swap: lost.as_ref(), options, notes });
        }
        let meteor = if self.wordnet.is_some() { "METEOR" } else { "METEOR (no synonyms)" };
        let beside = beside.map(|beside| (&beside.tables, label(beside)));
        let mut text = tables::text(tables, meteor, beside);
        text.extend(lost.iter().flat_map(|lost| ["\n".to_owned(), swap::text(lost)]));
        text.extend(notes.iter().flat_map(|note| ["\n", note]));
        output::print(text.trim_end()).and_then(|_| output::print("\n")).map(|_| ())
    }
}

/// The label of the bar over all questions.
const QUESTIONS: &str = "questions";

fn read_beside(path: &Path) -> Result<Finished> {
    let missing = || Failure::input(format!("{}: there are no results; run eval with --out first", path.display()));
    results::read_finished(path)?.ok_or_else(missing)
}

/// What stands over the columns of another run.
fn label(beside: &Finished) -> &'static str {
    let is = |option: &str| beside.identity.options.get(option) == Some(&Value::Bool(true));
    if is("blind") { "blind" } else { "beside" }
}
