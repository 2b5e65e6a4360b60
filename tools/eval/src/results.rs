//! Results of single samples: a journal that grows while the run goes on, and one file in the end.
//!
//! Each sample is one line, written at once, so whatever ends a run leaves whole lines but for the last.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use med2e3_loaders::files;
use serde::{Deserialize, Serialize};

use crate::data::{Item, Kind, Topic};
use crate::error::{Error, Result};
use crate::identity::{DISCARD, Identity, Origin};
use crate::metrics::TextScores;
use crate::tables::Tables;
use crate::truth::Truth;

/// One question, its answer, and how good it is. Field names are a public contract.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its place in the data, from 0.
    pub index: usize,
    /// As in the data.
    pub id: String,
    /// How it is judged.
    pub kind: Kind,
    /// What it is about.
    pub topic: Option<Topic>,
    /// The volume's path in the data.
    pub volume: String,
    /// What was asked last.
    pub question: String,
    /// The right answer.
    pub reference: String,
    /// The model's answer.
    pub prediction: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// Whether the right choice was named, of a closed question.
    pub correct: Option<bool>,
    /// With `--closed scored`, the most likely of the choices, of a closed question that lists them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scored: Option<ScoredChoice>,
    /// Metrics of other answers.
    pub scores: Option<TextScores>,
    /// The slice that counted most; absent where slices are not weighed.
    pub top_slice: Option<usize>,
    /// Every slice's weight, with `--slice-scores` and where there is the truth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice_scores: Option<Vec<f32>>,
    /// What the patient has, where the data says it; slices are the model's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<Truth>,
}

/// The choice that the model finds most likely, without being asked to write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredChoice {
    /// As the question lists it.
    pub choice: String,
    /// Whether it is the right one.
    pub correct: bool,
    /// Whether the answer that the model wrote names it too.
    pub agrees: bool,
}

impl Sample {
    /// What is wrong with a sample that was read: averages and tables take for granted what is checked here.
    fn fault(&self) -> Option<&'static str> {
        let closed = self.kind == Kind::Closed;
        let within = |figures: [f64; 3]| figures.iter().all(|figure| (0.0..=1.0).contains(figure));
        if self.correct.is_some() != closed || self.scores.is_none() != closed {
            Some("has figures of another kind of question")
        } else if self.scores.is_some_and(|s| !within([s.bleu_1, s.rouge_1, s.meteor])) {
            Some("has a score that is not within 0 to 1")
        } else if self.truth.as_ref().and_then(|truth| truth.slices).is_some_and(|[first, last]| first > last) {
            Some("has a truth whose first slice comes after its last")
        } else {
            None
        }
    }

    /// What is averaged.
    pub fn figures(&self) -> Vec<(&'static str, f64)> {
        let scores = self.scores.map(|s| vec![("bleu_1", s.bleu_1), ("rouge_1", s.rouge_1), ("meteor", s.meteor)]);
        let correct = self.correct.map(|correct| ("accuracy", f64::from(u8::from(correct))));
        let share = |holds: bool| f64::from(u8::from(holds));
        let scored = self.scored.as_ref().map(|s| [("scored", share(s.correct)), ("agreement", share(s.agrees))]);
        scores.into_iter().flatten().chain(correct).chain(scored.into_iter().flatten()).collect()
    }

    /// Whether the question presupposes or asks for a lesion.
    pub fn is_about_lesion(&self) -> bool {
        matches!(self.topic, Some(Topic::Organ | Topic::Abnormality | Topic::Location))
    }

    /// Whether the answer is right: of a closed question the choice, of others every word.
    pub fn is_right(&self) -> bool {
        let plain = |text: &str| text.trim().trim_end_matches('.').to_lowercase();
        self.correct.unwrap_or_else(|| plain(&self.prediction) == plain(&self.reference))
    }
}

/// The file of a finished run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Finished {
    /// What made it.
    #[serde(flatten)]
    pub identity: Identity,
    /// All averages.
    pub tables: Tables,
    /// In the data's order.
    pub samples: Vec<Sample>,
}

/// Samples that are answered, and where they are kept.
pub struct Results {
    /// By their place in the data.
    pub done: BTreeMap<usize, Sample>,
    identity: Identity,
    out: Option<PathBuf>,
    journal: Option<Journal>,
}

impl Results {
    /// Takes up what an earlier run left at `out`, if it was the same run; `restart` discards it. Without `out`,
    /// nothing is kept. The caller has made sure that both files of [`written`] may be written.
    ///
    /// # Errors
    /// Where the results are another run's, damaged, or being written by another process, or cannot be written.
    pub fn open(identity: Identity, out: Option<&Path>, restart: bool) -> Result<Self> {
        let mut results = Self { done: BTreeMap::new(), identity, out: out.map(Path::to_path_buf), journal: None };
        let Some(out) = out else { return Ok(results) };
        let finished = read_saved(out)?;
        if let Some(saved) = finished.as_ref().filter(|_| !restart) {
            saved.origin.check(out, DISCARD)?;
            let finished = saved.finished(out)?;
            results.identity.check(&finished.identity, out)?;
            results.done = finished.samples.into_iter().map(|sample| (sample.index, sample)).collect();
        }
        let path = journal_path(out);
        let journal = lock(&path)?;
        let lines = results.journal_lines(&path)?;
        if restart {
            journal.file.set_len(0).map_err(|error| Error::write(&path, &error))?;
            if finished.is_some() {
                std::fs::remove_file(out).map_err(|error| Error::write(out, &error))?;
            }
        } else if finished.is_none() {
            results.take_up(&lines, out)?;
            journal.file.set_len(lines.len() as u64).map_err(|error| Error::write(&path, &error))?;
        }
        results.journal = Some(journal);
        Ok(results)
    }

    /// The journal's whole lines. A file that is not a journal is refused before anything in it is changed.
    fn journal_lines(&self, path: &Path) -> Result<Vec<u8>> {
        let mut bytes = std::fs::read(path).map_err(|error| med2e3_loaders::Error::io(path, "read", error))?;
        let first = bytes.iter().position(|&byte| byte == b'\n');
        match first {
            Some(end) => drop(Origin::of(&bytes[..end], path)?),
            // New, or its run was killed in its first line.
            None if line(&self.identity)?.as_bytes().starts_with(&bytes) => {}
            None => drop(Origin::of(&bytes, path)?),
        }
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(whole);
        Ok(bytes)
    }

    /// Takes up the answers in the lines of a journal, if it was this run's.
    fn take_up(&mut self, lines: &[u8], out: &Path) -> Result<()> {
        let path = journal_path(out);
        let text = String::from_utf8_lossy(lines);
        for (number, line) in text.lines().enumerate() {
            let damaged = |finding: String| {
                let shown = path.display();
                let remedy = "add --restart to start over";
                Error::input(format!("{shown}: line {} is damaged: {finding}; {remedy}", number + 1))
            };
            let unreadable = |error: serde_json::Error| damaged(error.to_string());
            if number == 0 {
                Origin::of(line.as_bytes(), &path)?.check(&path, DISCARD)?;
                self.identity.check(&serde_json::from_str(line).map_err(unreadable)?, out)?;
            } else {
                let sample: Sample = serde_json::from_str(line).map_err(unreadable)?;
                if let Some(fault) = sample.fault() {
                    return Err(damaged(format!("sample {} {fault}", sample.index)));
                }
                self.done.insert(sample.index, sample);
            }
        }
        Ok(())
    }

    /// Refuses samples that are of none of the run's items, or of another than the one at their place: their file was
    /// damaged.
    ///
    /// # Errors
    /// Where there is such a sample; the text names it.
    pub fn check_items(&self, items: &[Item]) -> Result<()> {
        let foreign = |sample: &&Sample| items.get(sample.index).is_none_or(|item| item.id != sample.id);
        let Some(sample) = self.done.values().find(foreign) else { return Ok(()) };
        let shown = self.out.as_deref().unwrap_or(Path::new("")).display();
        let Sample { index, id, .. } = sample;
        Err(Error::input(format!(
            "{shown}: the results there are damaged: item {index} has not the id `{id}`; {DISCARD}"
        )))
    }

    /// Keeps samples; they are on the disk when this returns.
    ///
    /// # Errors
    /// Where they cannot be written.
    pub fn keep(&mut self, samples: Vec<Sample>) -> Result<()> {
        if let Some(Journal { path, file: journal }) = &mut self.journal {
            let failed = |error: std::io::Error| Error::write(path, &error);
            if journal.metadata().map_err(failed)?.len() == 0 {
                journal.write_all(line(&self.identity)?.as_bytes()).map_err(failed)?;
            }
            for sample in &samples {
                journal.write_all(line(sample)?.as_bytes()).map_err(failed)?;
            }
            journal.sync_data().map_err(failed)?;
        }
        self.done.extend(samples.into_iter().map(|sample| (sample.index, sample)));
        Ok(())
    }

    /// Averages all, has `write` put the file of results in its place, whole or not at all, and removes the journal.
    ///
    /// # Errors
    /// Those of `write`, and where the journal cannot be removed.
    pub fn finish<E: From<Error>>(self, write: impl FnOnce(&Path, &[u8]) -> Result<(), E>) -> Result<Finished, E> {
        let samples: Vec<Sample> = self.done.into_values().collect();
        let tables = Tables::of(&samples.iter().collect::<Vec<_>>());
        let finished = Finished { identity: self.identity, tables, samples };
        if let Some(out) = &self.out {
            let text = serde_json::to_string_pretty(&finished)
                .map_err(|error| Error::runtime(format!("cannot write the results as JSON: {error}")))?;
            write(out, (text + "\n").as_bytes())?;
            let journal = journal_path(out);
            std::fs::remove_file(&journal).map_err(|error| Error::write(&journal, &error))?;
        }
        Ok(finished)
    }
}

/// The file of a finished run, as far as every format is alike.
struct Saved {
    bytes: Vec<u8>,
    origin: Origin,
}

impl Saved {
    fn finished(&self, path: &Path) -> Result<Finished> {
        let unusable = |finding: String| {
            let shown = path.display();
            Error::usage(format!("{shown}: does not hold results of eval ({finding}); give the name of another file"))
        };
        let finished: Finished = serde_json::from_slice(&self.bytes).map_err(|error| unusable(error.to_string()))?;
        let fault = finished.samples.iter().find_map(|sample| Some((sample.index, sample.fault()?)));
        match fault {
            Some((index, fault)) => Err(unusable(format!("sample {index} {fault}"))),
            None => Ok(finished),
        }
    }
}

fn read_saved(path: &Path) -> Result<Option<Saved>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|error| med2e3_loaders::Error::io(path, "read", error))?;
    let origin = Origin::of(&bytes, path)?;
    Ok(Some(Saved { bytes, origin }))
}

/// The results of a finished run, where there are any.
///
/// # Errors
/// Where the file cannot be read, or holds anything else than results of this version's format.
pub fn read_finished(path: &Path) -> Result<Option<Finished>> {
    let Some(saved) = read_saved(path)? else { return Ok(None) };
    saved.origin.check(path, "make them again with this version")?;
    saved.finished(path).map(Some)
}

/// What a run with this `--out` writes: the results, and the journal beside them.
pub fn written(out: &Path) -> [PathBuf; 2] {
    [out.to_path_buf(), journal_path(out)]
}

/// The locked file of answers, which one run alone may write. A run that answered nothing leaves none behind.
struct Journal {
    path: PathBuf,
    file: File,
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn lock(path: &Path) -> Result<Journal> {
    let failed = |error: std::io::Error| Error::write(path, &error);
    loop {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
        files::sync_folder_of(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let finding = "another run is writing to it; wait for it, or give another --out";
                return Err(Error::runtime(format!("{}: {finding}", path.display())));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // A run that ended in between has removed what was opened.
        let opened = file.metadata().map_err(failed)?.ino();
        if std::fs::metadata(path).is_ok_and(|named| named.ino() == opened) {
            return Ok(Journal { path: path.to_path_buf(), file });
        }
    }
}

/// Beside the file of results.
fn journal_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value);
    text.map(|text| text + "\n").map_err(|error| Error::runtime(format!("cannot write a result as JSON: {error}")))
}
