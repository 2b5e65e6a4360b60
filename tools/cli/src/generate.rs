//! `generate`: a question about a scan, and the answer.

pub mod demo;
mod report;
mod trace;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use med2e3::{
    Answer, Device, DeviceChoice, Engine, Event, LoadOptions, Precision, PreparedVolume, Request, TextMlp, TgisMode,
    Volume,
};
use med2e3_kernels::ops::Sampling;
use med2e3_loaders::ModelFolder;
use med2e3_loaders::sentence::sentence;
use med2e3_loaders::volume::{self, VolumeInfo};

use crate::args::device::PrecisionChoice;
use crate::args::sampling::{self, SamplingArgs};
use crate::args::volume::VolumeArgs;
use crate::failure::{Failure, Result};
use crate::output::{self, Reader, Then};
use crate::progress::Bars;
use crate::volume_report::Origin;
use crate::{chart, interrupt, montage, terminal};
use report::options::Options;
use report::{Ranking, Report, Timings};

/// Answer a question about a scan
#[derive(Debug, Args)]
pub struct Generate {
    /// The model's folder
    #[arg(long, value_name = "DIR", required_unless_present = "demo", conflicts_with = "demo")]
    model: Option<PathBuf>,
    /// .npy, NIfTI, NRRD, MetaImage, DICOM file or folder, a zip of one scan, or a folder of PNG or JPEG slices
    #[arg(long, value_name = "PATH", required_unless_present = "demo")]
    volume: Option<PathBuf>,
    /// The question
    #[arg(long, value_name = "TEXT", required_unless_present = "demo")]
    prompt: Option<String>,
    /// Text that guides which slices count [default: the prompt]
    #[arg(long, value_name = "TEXT", alias = "question")]
    guide: Option<String>,
    /// A possible answer; give two or more to have the most likely of them chosen, and each one's log-probability
    #[arg(
        long = "option",
        value_name = "TEXT",
        conflicts_with_all = ["max_new_tokens", "temperature", "logprobs", "trace"]
    )]
    options: Vec<String>,
    /// Ask the built-in model, which is tiny and trained on made-up patients, about one of them, whom --seed chooses
    #[arg(long)]
    demo: bool,
    /// auto, cpu, cuda, cuda:N, emulated or emulated:SEED (with :checked at the end, memory is watched); auto is the
    /// first GPU that can be used, else cpu
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Repeat every op on the CPU and stop at the first result that differs; slow
    #[arg(long)]
    shadow: bool,
    /// On the cpu: exact never rounds an activation, fast may [default: exact for f32 checkpoints and small models]
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// How slices are weighted: checkpoint, uniform, max or random:SEED
    #[arg(long, value_name = "HOW", default_value = "checkpoint", value_parser = sampling::tgis)]
    tgis: TgisMode,
    /// Where the question's projection comes from: checkpoint or random:SEED
    #[arg(long, value_name = "FROM", default_value = "checkpoint", value_parser = sampling::text_mlp)]
    tgis_text_mlp: TextMlp,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    how: VolumeArgs,
    /// With --json: put hashes in the place of all DICOM UIDs
    #[arg(long, requires = "json")]
    hash_uids: bool,
    /// Print one JSON object instead of the answer alone
    #[arg(long)]
    json: bool,
    /// Write the values of every stage
    #[arg(long, value_name = "FILE.safetensors")]
    trace: Option<PathBuf>,
    /// Draw a bar chart of the slices' scores
    #[arg(long, value_name = "FILE.png")]
    scores: Option<PathBuf>,
    /// Draw the slices as the model sees them
    #[arg(long, value_name = "FILE.png")]
    montage: Option<PathBuf>,
    /// Replace output files that exist
    #[arg(long)]
    force: bool,
}

/// The model's folder.
enum Model {
    /// The user's.
    Given(PathBuf),
    /// The demo's, which lives as long as this.
    Made(demo::TemporaryModel),
}

impl Generate {
    /// Answers the question. `started` is when the process began.
    pub fn run(&self, started: Instant) -> Result<()> {
        self.check_targets()?;
        let gpu = self.device.gpu()?;
        let mut bars = Bars::new();
        let mut timings = Timings::default();

        let model = self.model()?;
        let (folder, open_ms) = timed(|| Ok(ModelFolder::open(model.path())?))?;
        let patient = (self.demo && self.volume.is_none()).then(|| self.patient());
        let mut device = gpu.unwrap_or_else(|| med2e3::device::cpu(self.precision.map(Precision::from), &folder));
        if self.shadow {
            device = Arc::new(med2e3_kernels::Shadow::new(device));
        }
        let ((prepared, info), prepare_ms) = timed(|| self.prepare(&*device, &folder, patient.as_ref()))?;
        timings.preprocess = prepare_ms;
        let load = LoadOptions { volumes: 1, tgis: self.tgis, text_mlp: self.tgis_text_mlp, ..LoadOptions::default() };
        let (engine, load_ms) =
            timed(|| Ok(Engine::load(device, &folder, &load, &mut |progress| bars.follow(progress))?))?;
        timings.load = open_ms + load_ms;
        bars.clear();
        let mut warnings = Warnings { quiet: self.json, found: Vec::new() };
        if self.demo && self.volume.is_some() {
            warnings.add(demo::PHANTOMS_ALONE);
        }
        folder.warnings.iter().chain(&prepared.warnings).for_each(|warning| warnings.add(warning));

        let own_question = patient.as_ref().map(demo::Patient::question);
        let prompt = self.prompt.as_deref().or(own_question).unwrap_or(demo::QUESTION);
        if self.demo && !self.json {
            output::note(&format!("question: {prompt}"));
        }
        let (answer, options, encode_ms) = self.answer(&engine, &prepared, prompt, &mut bars)?;
        timings.encode = encode_ms;
        timings.add_answer(&answer.timings);
        timings.total = milliseconds(started);
        self.write_files(&prepared, &answer, prompt, &mut warnings)?;
        let device = engine.device().describe();
        let sources = &prepared.source_slices;
        let mut report = Report::new(&answer, &prepared, timings, device, warnings.found);
        report.volume.origin = Some(Origin::new(&info, sources));
        report.options = options;
        report.ranking = (self.sampling.logprobs > 0).then(|| Ranking::of(&answer));
        report.truth = patient.as_ref().map(|patient| patient.truth(self.prompt.is_none()));
        if self.json {
            // Taking the engine down takes time, in which a signal must not take the answer back.
            return output::print_json(&report).map(|()| interrupt::finish());
        }
        if let Some(patient) = &patient {
            let lines = patient.compare(self.prompt.is_none(), report.slice_scores.as_deref(), sources);
            lines.iter().for_each(|line| output::note(line));
            output::note(&report.summary());
        } else if self.demo || std::io::IsTerminal::is_terminal(&std::io::stderr()) {
            summarise(&report);
        }
        interrupt::finish();
        Ok(())
    }

    /// Files that will be written.
    fn targets(&self) -> impl Iterator<Item = &Path> {
        [&self.trace, &self.scores, &self.montage].into_iter().filter_map(|target| target.as_deref())
    }

    /// Refuses, before any work is done, files that could not be written.
    fn check_targets(&self) -> Result<()> {
        if self.demo && self.volume.is_some() && self.sampling.seed.is_some() {
            let finding = "--seed chooses the demo's patient, but --volume gives a scan";
            return Err(Failure::usage(format!("{finding}; leave out one of them")));
        }
        let targets: Vec<&Path> = self.targets().collect();
        for target in &targets {
            for input in self.model.iter().chain(&self.volume) {
                output::check_not_input(target, input)?;
            }
            output::check_target(target, self.force)?;
        }
        output::check_distinct(&targets)
    }

    fn model(&self) -> Result<Model> {
        match &self.model {
            Some(path) => Ok(Model::Given(path.clone())),
            None => Ok(Model::Made(demo::TemporaryModel::make()?)),
        }
    }

    /// Reads the volume and makes it the model's input; also what is known about it.
    fn prepare(
        &self,
        device: &dyn Device,
        folder: &ModelFolder,
        patient: Option<&demo::Patient>,
    ) -> Result<(PreparedVolume, VolumeInfo)> {
        let options = self.how.options(folder.window);
        let mut raw = match (&self.volume, patient) {
            (Some(path), _) => volume::read_volume(path, &options)?,
            (None, Some(patient)) => patient.volume(),
            (None, None) => unreachable!("without --demo a volume is required"),
        };
        if self.hash_uids {
            raw.info.hash_uids();
        }
        let prepared = med2e3::prepare(device, &raw, folder.config.vision_3d.img_size, &options)?;
        Ok((prepared, raw.info))
    }

    /// The demo's, by `--seed`.
    fn patient(&self) -> demo::Patient {
        demo::Patient::new(self.sampling.seed.unwrap_or(demo::SEED))
    }

    /// Encodes the volume and asks, streaming the answer to stdout, or chooses among options.
    fn answer(
        &self,
        engine: &Engine,
        prepared: &PreparedVolume,
        prompt: &str,
        bars: &mut Bars,
    ) -> Result<(Answer, Option<Options>, f64)> {
        let mut request = Request::new(prompt);
        request.guide = self.guide.clone();
        request.max_new_tokens = self.sampling.max_new_tokens;
        request.sampling = Sampling::from(&self.sampling);
        request.logprobs = self.sampling.logprobs;
        request.trace = self.trace.is_some();
        let (encoded, encode_ms) = timed(|| {
            let voxels = prepared.voxels.as_slice();
            let encoded = if request.trace { engine.encode_traced(voxels)? } else { engine.encode(voxels)? };
            encoded.wait_with(&mut |progress| bars.follow(progress))?;
            Ok(encoded)
        })?;
        if !self.options.is_empty() {
            let (answer, options) = self.choose(engine, &encoded, request)?;
            return Ok((answer, Some(options), encode_ms));
        }
        let mut failure = None;
        let mut show = |text: &str| match output::print(text) {
            Ok(Reader::Listening) => ControlFlow::Continue(()),
            Ok(Reader::Gone) => ControlFlow::Break(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        };
        let stages = encoded.take_trace();
        let mut answer = engine.submit(&encoded, request)?.finish_with(&mut |event| match event {
            Event::Progress(progress) => bars.follow(*progress),
            Event::Token { text, .. } | Event::Text(text) if !self.json => {
                bars.clear();
                show(text)
            }
            _ => ControlFlow::Continue(()),
        })?;
        bars.clear();
        if let Some(failure) = failure {
            return Err(failure);
        }
        if !self.json {
            output::print("\n")?;
        }
        if let (Some(mut stages), Some(asked)) = (stages, answer.trace.take()) {
            stages.tensors.extend(asked.tensors);
            answer.trace = Some(stages);
        }
        Ok((answer, None, encode_ms))
    }

    /// The most likely option as the answer, and how likely each one is.
    fn choose(&self, engine: &Engine, volume: &Volume, request: Request) -> Result<(Answer, Options)> {
        let scoring = engine.score(volume, request, &self.options)?;
        let options = Options::new(&self.options, &scoring);
        if !self.json {
            output::print(&options.table())?;
        }
        Ok((options.answer(scoring), options))
    }

    fn write_files(
        &self,
        prepared: &PreparedVolume,
        answer: &Answer,
        prompt: &str,
        warnings: &mut Warnings,
    ) -> Result<()> {
        if let (Some(path), Some(trace)) = (&self.trace, &answer.trace) {
            trace::write(path, self.force, trace)?;
        }
        if let Some(path) = &self.scores {
            match &answer.slice_scores {
                Some(scores) => {
                    let question = self.guide.as_deref().unwrap_or(prompt);
                    output::write_bytes(path, self.force, Then::More, &chart::scores_png(scores, question)?)?;
                }
                None => warnings.add("slices are not scored here, so --scores draws no chart"),
            }
        }
        if let Some(path) = &self.montage {
            let scores = answer.slice_scores.as_deref();
            let png = montage::montage_png(&prepared.voxels, prepared.dims, scores)?;
            output::write_bytes(path, self.force, Then::More, &png)?;
        }
        Ok(())
    }
}

/// What the user should know: on stderr at once, or in the report alone.
struct Warnings {
    quiet: bool,
    found: Vec<String>,
}

impl Warnings {
    fn add(&mut self, warning: &str) {
        if !self.quiet {
            output::note(&format!("warning: {warning}"));
        }
        self.found.push(sentence(warning));
    }
}

impl Model {
    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Made(temporary) => temporary.path(),
        }
    }
}

/// Scores and timings, for a person at a terminal.
fn summarise(report: &Report) {
    if let Some(scores) = &report.slice_scores {
        let top: Vec<_> = report.top_slices.iter().map(|top| (top.slice, top.score, top.source_slices)).collect();
        for line in terminal::score_chart(scores, &top) {
            output::note(&line);
        }
    }
    output::note(&report.summary());
}

/// A result and the milliseconds that it took.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let started = Instant::now();
    let done = work()?;
    Ok((done, milliseconds(started)))
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
