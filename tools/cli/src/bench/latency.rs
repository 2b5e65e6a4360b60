//! `bench latency`: one caller's waits. Every figure is taken in one run, so that their ratios hold on a noisy machine.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use med2e3::{Answer, DeviceChoice, Engine, Event, LoadOptions, ModelFolder, Precision, Request, Volume};
use serde::Serialize;

use crate::args::device::PrecisionChoice;
use crate::args::sampling;
use crate::failure::Result;
use crate::output;
use crate::progress::Bars;

/// Time the first token of a first and of a second question, and several questions alone and together
#[derive(Debug, Args)]
pub struct Latency {
    /// The model's folder; `engine-cli make-model --preset released` writes one with random weights
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// auto, cpu, cuda, cuda:N or emulated
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// On the cpu: exact never rounds an activation, fast may [default: exact for f32 checkpoints and small models]
    #[arg(long, value_enum)]
    precision: Option<PrecisionChoice>,
    /// How many questions are asked together
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = sampling::batch)]
    questions: usize,
    /// Tokens of every answer
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = sampling::at_least_one)]
    new_tokens: usize,
    /// Take every figure N times and print the medians
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = sampling::at_least_one)]
    runs: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Milliseconds, medians over the runs. Field names are a public contract.
#[derive(Debug, Serialize)]
struct Figures {
    /// Both vision encoders, once.
    encode: f64,
    /// To the first token of a question whose prompt's beginning is not in the cache.
    first: f64,
    /// To the first token of the same question once the beginning is there.
    follow_up: f64,
    /// The first tokens of all questions, one after the other, nothing in the cache.
    eleven_prompts_alone: f64,
    /// The same, asked at the same time, of answers that end with their first token: no step runs between the prompts.
    eleven_prompts_together: f64,
    /// The first tokens of whole answers, asked at the same time, while the first ones go on.
    eleven_first_tokens_together: f64,
    /// The whole answers, one after the other, nothing in the cache.
    eleven_alone: f64,
    /// The whole answers, asked at the same time.
    eleven_together: f64,
    /// The longest unit of work since the model was loaded.
    longest_unit_ms: f64,
    /// The longest wait between two tokens of an answer while another volume is encoded.
    longest_gap_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    device: String,
    questions: usize,
    new_tokens: usize,
    runs: usize,
    prompt_tokens: usize,
    cached_tokens: usize,
    timings_ms: Figures,
}

/// What one run of all questions took.
struct Asked {
    /// To each first token, by the engine.
    first_tokens: Vec<f64>,
    /// From the first call to the last end.
    whole: f64,
    answers: Vec<Answer>,
}

/// Questions of about the same length.
const TOPICS: [&str; 11] =
    ["liver", "lung", "kidney", "spleen", "heart", "bone", "brain", "colon", "breast", "thyroid", "prostate"];

impl Latency {
    /// Prints the figures.
    pub fn run(&self) -> Result<()> {
        let mut bars = Bars::new();
        let folder = ModelFolder::open(&self.model)?;
        let device = self.device.open(self.precision.map(Precision::from), &folder)?;
        let load = LoadOptions { batch: self.questions, volumes: 2, ..LoadOptions::default() };
        let engine = Engine::load(device, &folder, &load, &mut |progress| bars.follow(progress))?;
        let mut voxels: Vec<f32> = (0..engine.img_size().iter().product()).map(noise).collect();
        let started = Instant::now();
        let volume = engine.encode(voxels.as_slice())?;
        volume.wait_with(&mut |progress| bars.follow(progress))?;
        let encode = milliseconds(started);
        let total = (5 * self.runs + 1) as u64;
        let mut done = 0;
        let mut step = |bars: &mut Bars| {
            done += 1;
            bars.show("benchmark", done, total);
        };
        let [mut first, mut follow_up, mut alone, mut prompts, mut together] = [const { Vec::new() }; 5];
        for run in 0..self.runs {
            // Another text before the image each time: a beginning that is not in the cache.
            let case = |case: usize| format!("{}", 100 * run + case);
            first.push(self.ask(&engine, &volume, &case(0), 1, self.new_tokens)?);
            step(&mut bars);
            follow_up.push(self.ask(&engine, &volume, &case(0), 1, self.new_tokens)?);
            step(&mut bars);
            let mut one_by_one = Asked { first_tokens: Vec::new(), whole: 0.0, answers: Vec::new() };
            for question in 0..self.questions {
                let one = self.ask(&engine, &volume, &case(1 + question), 1, self.new_tokens)?;
                one_by_one.first_tokens.extend(&one.first_tokens);
                one_by_one.whole += one.whole;
            }
            alone.push(one_by_one);
            step(&mut bars);
            prompts.push(self.ask(&engine, &volume, &case(98), self.questions, 1)?);
            step(&mut bars);
            together.push(self.ask(&engine, &volume, &case(99), self.questions, self.new_tokens)?);
            step(&mut bars);
        }
        voxels.rotate_left(1);
        let longest_gap_ms = self.longest_gap(&engine, &volume, voxels)?;
        step(&mut bars);
        bars.clear();
        let last = |asked: &Asked| asked.first_tokens.iter().copied().fold(0.0, f64::max);
        let answer = &follow_up[0].answers[0];
        let prompt_tokens = answer.prompt_tokens;
        let cached_tokens = answer.cached_tokens;
        let timings_ms = Figures {
            encode,
            first: median(first.iter().map(last)),
            follow_up: median(follow_up.iter().map(last)),
            eleven_prompts_alone: median(alone.iter().map(|asked| asked.first_tokens.iter().sum())),
            eleven_prompts_together: median(prompts.iter().map(last)),
            eleven_first_tokens_together: median(together.iter().map(last)),
            eleven_alone: median(alone.iter().map(|asked| asked.whole)),
            eleven_together: median(together.iter().map(|asked| asked.whole)),
            longest_unit_ms: engine.stats().longest_unit.as_secs_f64() * 1e3,
            longest_gap_ms,
        };
        let device = engine.device().describe();
        let questions = self.questions;
        let new_tokens = self.new_tokens;
        let runs = self.runs;
        let report = Report { device, questions, new_tokens, runs, prompt_tokens, cached_tokens, timings_ms };
        if self.json { output::print_json(&report) } else { output::print(&report.text()).map(|_| ()) }
    }

    /// A question of a case, answered with given tokens: the lengths of answers must not differ.
    fn request(&self, case: &str, question: usize, new_tokens: usize) -> Request {
        let topic = TOPICS[question % TOPICS.len()];
        let prompt =
            format!("Case {case}: <image3d> Describe the findings of this scan and say whether the {topic} is normal.");
        // Ids that every vocabulary has.
        let forced = Some((0..new_tokens as u32).map(|token| 5 + token % 90).collect());
        Request { forced, ..Request::new(prompt) }
    }

    /// Asks `count` questions about a case at the same time.
    fn ask(&self, engine: &Engine, volume: &Volume, case: &str, count: usize, new_tokens: usize) -> Result<Asked> {
        let started = Instant::now();
        let questions = (0..count).map(|question| (volume, self.request(case, question, new_tokens)));
        let asked: Vec<_> = engine.submit_all(questions);
        let answers = asked.into_iter().map(|one| one.and_then(|answering| answering.finish()));
        let answers: Vec<Answer> = answers.collect::<med2e3::Result<_>>()?;
        let whole = milliseconds(started);
        let first_tokens = answers.iter().map(|answer| answer.timings.first_token_ms).collect();
        Ok(Asked { first_tokens, whole, answers })
    }

    /// The longest wait between two tokens of answers that go on while another volume is encoded.
    fn longest_gap(&self, engine: &Engine, volume: &Volume, voxels: Vec<f32>) -> Result<f64> {
        let other = engine.encode(voxels)?;
        let mut longest: f64 = 0.0;
        for round in 0.. {
            let mut last = None;
            engine.submit(volume, self.request("gap", round, self.new_tokens))?.finish_with(&mut |event| {
                if let Event::Token { .. } = event {
                    longest = longest.max(last.replace(Instant::now()).map_or(0.0, milliseconds));
                }
                ControlFlow::Continue(())
            })?;
            if other.is_ready()? {
                break;
            }
        }
        Ok(longest)
    }
}

impl Report {
    /// For a person: the figures, and the ratios that matter.
    fn text(&self) -> String {
        let Self { device, questions, new_tokens, runs, prompt_tokens, cached_tokens, timings_ms: ms } = self;
        let row = |label: &str, value: f64, of: Option<f64>| {
            let ratio = of.map_or(String::new(), |of| format!("  {:>5.2}", value / of));
            format!("  {label:<42} {value:>10.1}{ratio}\n")
        };
        let mut text = format!(
            "{device}\nprompt of {prompt_tokens} tokens, {cached_tokens} of them kept for a second question; answers \
             of {new_tokens} tokens; medians of {runs}; ms\n"
        );
        text.push_str(&row("encode", ms.encode, None));
        text.push_str(&row("first token", ms.first, None));
        text.push_str(&row("first token of a second question", ms.follow_up, Some(ms.first)));
        text.push_str(&row(&format!("first tokens of {questions}, one by one"), ms.eleven_prompts_alone, None));
        let alone = Some(ms.eleven_prompts_alone);
        text.push_str(&row(&format!("first tokens of {questions}, together"), ms.eleven_prompts_together, alone));
        let late = ms.eleven_first_tokens_together;
        text.push_str(&row(&format!("first tokens of {questions} whole answers, together"), late, alone));
        text.push_str(&row(&format!("{questions} answers, one by one"), ms.eleven_alone, None));
        text.push_str(&row(&format!("{questions} answers, together"), ms.eleven_together, Some(ms.eleven_alone)));
        text.push_str(&row("longest unit of work", ms.longest_unit_ms, None));
        text.push_str(&row("longest gap while a volume is encoded", ms.longest_gap_ms, None));
        text
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Voxel `index` of a volume that has no meaning.
fn noise(index: usize) -> f32 {
    (index as u32).wrapping_mul(2_654_435_761) as f32 / u32::MAX as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_noise() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
        assert!((0..10_000).map(noise).all(|voxel| (0.0..=1.0).contains(&voxel)));
    }
}
