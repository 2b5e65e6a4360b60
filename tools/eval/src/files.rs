//! The files that `eval` reads, and nothing else of it: what the fuzz targets call.

use std::path::Path;

use serde_json::Map;

use super::data::{self, DataArgs, Kind, Questions};
use super::identity::Identity;
use super::results::{self, Results};
use super::tables::Tables;

/// What was read of an item.
#[derive(Debug)]
pub struct ItemRead {
    /// Turns of its conversation.
    pub questions: usize,
    /// Whether it is judged by its choice.
    pub is_closed: bool,
    /// Whether its answer names one.
    pub names_a_choice: bool,
}

/// Reads a data file and, where they stand apart, its answers.
///
/// # Errors
/// The sentence that the user would see.
pub fn items(data: &Path, volumes: &Path, answers: Option<&Path>) -> Result<Vec<ItemRead>, String> {
    let args = DataArgs {
        data: data.to_path_buf(),
        volumes: volumes.to_path_buf(),
        answers: answers.map(Path::to_path_buf),
        kind: None,
        questions: Questions::Both,
        split: None,
        caption_question: "What is there?".to_owned(),
        limit: None,
    };
    let items = data::read(&args).map_err(|failure| failure.message)?;
    let read = items.into_iter().map(|item| ItemRead {
        questions: item.conversation.turns.len(),
        is_closed: item.kind == Kind::Closed,
        names_a_choice: item.choice.is_some(),
    });
    Ok(read.collect())
}

/// The first line of a journal that [`results()`] takes up, without the end of the line.
///
/// # Panics
/// Never: it holds text alone.
pub fn identity() -> String {
    serde_json::to_string(&of_nothing()).expect("text is JSON")
}

/// A run of no model and no items.
fn of_nothing() -> Identity {
    Identity::of_hashes("model".to_owned(), "data".to_owned(), Map::new())
}

/// Takes up the results at `out`, or their journal, as a run that goes on does, and reads them as `--beside` does. All
/// figures of the samples and of their averages.
///
/// # Errors
/// The sentence that the user would see.
pub fn results(out: &Path) -> Result<Vec<f64>, String> {
    let read = || {
        results::read_finished(out)?;
        Results::open(of_nothing(), Some(out), false)
    };
    let results = read().map_err(|failure| failure.message)?;
    let samples: Vec<_> = results.done.values().collect();
    let tables = Tables::of(&samples);
    let groups = [&tables.open, &tables.closed].into_iter().flatten();
    let averages = groups.flat_map(|group| [&group.macro_average, &group.micro_average]).chain(&tables.captions);
    let averages = averages.flat_map(|averages| averages.figures.values().copied());
    let scores = samples.iter().flat_map(|sample| sample.slice_scores.iter().flatten());
    Ok(averages.chain(scores.map(|&score| f64::from(score))).collect())
}
