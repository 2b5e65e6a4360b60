//! What `generate --json` prints.

pub mod options;

use med2e3::{Answer, PreparedVolume};
use serde::Serialize;

use super::demo::Truth;
use crate::volume_report::VolumeReport;

/// Slices listed under `top_slices`.
const TOP_SLICES: usize = 5;

/// One answer with everything that led to it. Field names are a public contract.
#[derive(Debug, Serialize)]
pub struct Report {
    text: String,
    token_ids: Vec<u32>,
    finish_reason: &'static str,
    /// Weight of each slice; absent where the variant has none.
    pub slice_scores: Option<Vec<f32>>,
    /// The slices that counted most, the highest first.
    pub top_slices: Vec<TopSlice>,
    /// What was made of the scan, and where it comes from.
    pub volume: VolumeReport,
    usage: Usage,
    prompt_ids: Vec<i64>,
    /// With `--option`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub options: Option<options::Options>,
    /// With `--logprobs`.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub ranking: Option<Ranking>,
    timings_ms: Timings,
    device: String,
    warnings: Vec<String>,
    /// Of the demo's patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<Truth>,
}

/// A slice of the model's input and where it comes from.
#[derive(Debug, Serialize)]
pub struct TopSlice {
    /// Its number, from 0.
    pub slice: usize,
    /// Its weight.
    pub score: f32,
    /// First and last slice of the volume as read, from 0, that contribute to it.
    pub source_slices: [usize; 2],
}

/// How likely the answer was: natural logarithms of probabilities, before any temperature.
#[derive(Debug, Serialize)]
pub struct Ranking {
    /// Of each token of the answer.
    logprobs: Vec<f32>,
    /// Of the token that ended it; null where a limit did.
    end_logprob: Option<f32>,
    /// The most likely tokens at each step.
    top_logprobs: Vec<Vec<(u32, f32)>>,
}

impl Ranking {
    /// Of an answer whose tokens were ranked.
    pub fn of(answer: &Answer) -> Self {
        let Answer { logprobs, end_logprob, top_logprobs, .. } = answer;
        Self { logprobs: logprobs.clone(), end_logprob: *end_logprob, top_logprobs: top_logprobs.clone() }
    }
}

#[derive(Debug, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Timings {
    /// Opening the model and making its weights usable.
    pub load: f64,
    /// Reading and preparing the volume.
    pub preprocess: f64,
    /// Both vision encoders.
    pub encode: f64,
    /// BERT, scores and the weighted sum of slices.
    pub tgis: f64,
    /// The prompt through the LLM, to the first token.
    pub prefill: f64,
    /// The steps of all tokens after the first.
    pub decode: f64,
    /// From the question to the first token, the volume being encoded.
    pub first_token: f64,
    /// From the start of the process.
    pub total: f64,
}

impl Timings {
    /// Takes over the engine's own.
    pub fn add_answer(&mut self, timings: &med2e3::Timings) {
        self.tgis = timings.tgis_ms;
        self.prefill = timings.prefill_ms;
        self.decode = timings.decode_ms;
        self.first_token = timings.first_token_ms;
    }
}

impl Report {
    /// Gathers the report of an answer.
    pub fn new(
        answer: &Answer,
        prepared: &PreparedVolume,
        timings_ms: Timings,
        device: String,
        warnings: Vec<String>,
    ) -> Self {
        Self {
            text: answer.text.clone(),
            token_ids: answer.token_ids.clone(),
            finish_reason: answer.finish_reason.name(),
            top_slices: top_slices(answer.slice_scores.as_deref().unwrap_or_default(), &prepared.source_slices),
            slice_scores: answer.slice_scores.clone(),
            volume: VolumeReport { window: prepared.window, origin: None },
            usage: Usage { prompt_tokens: answer.prompt_tokens, completion_tokens: answer.token_ids.len() },
            prompt_ids: answer.prompt_ids.clone(),
            options: None,
            ranking: None,
            timings_ms,
            device,
            warnings,
            truth: None,
        }
    }

    /// One line for a person.
    pub fn summary(&self) -> String {
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        let Timings { load, preprocess, encode, tgis, prefill, decode, total, .. } = self.timings_ms;
        format!(
            "{prompt_tokens} prompt tokens, {completion_tokens} new ({}); ms: load {load:.0}, preprocess \
             {preprocess:.0}, encode {encode:.0}, tgis {tgis:.0}, prefill {prefill:.0}, decode {decode:.0}, total \
             {total:.0}; {}",
            self.finish_reason, self.device
        )
    }
}

fn top_slices(scores: &[f32], source_slices: &[[usize; 2]]) -> Vec<TopSlice> {
    let mut order = by_score(scores);
    order.truncate(TOP_SLICES);
    let top = |slice: usize| TopSlice { slice, score: scores[slice], source_slices: source_slices[slice] };
    order.into_iter().map(top).collect()
}

/// Slices, the highest score first.
fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_slices_come_first_and_ties_in_order() {
        let sources: Vec<[usize; 2]> = (0..7).map(|slice| [slice * 2, slice * 2 + 1]).collect();
        let top = top_slices(&[0.1, 0.2, 0.1, 0.3, 0.1, 0.1, 0.1], &sources);
        let slices: Vec<usize> = top.iter().map(|top| top.slice).collect();
        assert_eq!(slices, [3, 1, 0, 2, 4]);
        assert_eq!(top[0].source_slices, [6, 7]);
        assert!(top_slices(&[], &sources).is_empty());
    }
}
