//! How slices are weighted and tokens are chosen, as typed.

use clap::Args;
use med2e3::{BATCH_MAX, VOLUMES_MAX};
use med2e3::{TextMlp, TgisMode};
use med2e3_kernels::ops::Sampling;

/// How tokens are chosen.
#[derive(Debug, Clone, Args)]
pub struct SamplingArgs {
    /// Stop after N new tokens [default: the model's limit]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub max_new_tokens: Option<usize>,
    /// 0 always takes the most likely token; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    pub temperature: f32,
    /// Sample among the fewest most likely tokens whose probabilities reach P
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = top_p, requires = "temperature")]
    pub top_p: f32,
    /// Sample among the K most likely tokens; 0 for all
    #[arg(long, value_name = "K", default_value_t = 0, requires = "temperature")]
    pub top_k: u32,
    /// Seed of the sampling: the same seed gives the same answer; with --demo, which patient as well [default: 0, and
    /// 3000000 for the patient]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// Report the K most likely tokens of every step (with --json)
    #[arg(long, value_name = "K", default_value_t = 0, requires = "json", value_parser = logprobs)]
    pub logprobs: usize,
}

impl From<&SamplingArgs> for Sampling {
    fn from(args: &SamplingArgs) -> Self {
        let SamplingArgs { temperature, top_k, top_p, seed, .. } = *args;
        Self { temperature, top_k, top_p, seed: seed.unwrap_or(0) }
    }
}

/// How many volumes stay encoded.
pub fn volumes(text: &str) -> Result<usize, String> {
    let possible = |count: &usize| (1..=VOLUMES_MAX).contains(count);
    text.parse().ok().filter(possible).ok_or_else(|| format!("wanted a whole number, 1 to {VOLUMES_MAX}"))
}

/// Most candidates reported per token.
const LOGPROBS_MAX: usize = 1000;

/// `--tgis`.
pub fn tgis(text: &str) -> Result<TgisMode, String> {
    match text {
        "checkpoint" => Ok(TgisMode::Checkpoint),
        "uniform" => Ok(TgisMode::Uniform),
        "max" => Ok(TgisMode::Max),
        _ => seed(text).map(TgisMode::Random).ok_or_else(|| "wanted checkpoint, uniform, max or random:SEED".into()),
    }
}

/// `--tgis-text-mlp`.
pub fn text_mlp(text: &str) -> Result<TextMlp, String> {
    match text {
        "checkpoint" => Ok(TextMlp::Checkpoint),
        _ => seed(text).map(TextMlp::Random).ok_or_else(|| "wanted checkpoint or random:SEED".into()),
    }
}

fn seed(text: &str) -> Option<u64> {
    text.strip_prefix("random:")?.parse().ok()
}

/// A count above 0.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count >= 1).ok_or_else(|| "wanted a whole number of 1 or more".into())
}

/// How many questions are answered at a time.
pub fn batch(text: &str) -> Result<usize, String> {
    let possible = |count: &usize| (1..=BATCH_MAX).contains(count);
    text.parse().ok().filter(possible).ok_or_else(|| format!("wanted a whole number, 1 to {BATCH_MAX}"))
}

fn temperature(text: &str) -> Result<f32, String> {
    let inside = |t: &f32| t.is_finite() && *t >= 0.0;
    text.parse().ok().filter(inside).ok_or_else(|| "wanted a number of 0 or more".into())
}

fn top_p(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|&p| p > 0.0 && p <= 1.0).ok_or_else(|| "wanted a number above 0 and at most 1".into())
}

fn logprobs(text: &str) -> Result<usize, String> {
    let inside = |count: &usize| *count <= LOGPROBS_MAX;
    text.parse().ok().filter(inside).ok_or_else(|| format!("wanted a whole number of at most {LOGPROBS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_parsed_exactly() {
        assert_eq!(tgis("random:7"), Ok(TgisMode::Random(7)));
        assert_eq!(text_mlp("random:0"), Ok(TextMlp::Random(0)));
        for bad in ["", "random", "random:", "random:-1", "Uniform"] {
            assert!(tgis(bad).is_err() && text_mlp(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        assert!(temperature("nan").is_err() && temperature("-0.1").is_err() && temperature("inf").is_err());
        assert!(top_p("0").is_err() && top_p("1.01").is_err() && top_p("1").is_ok());
        assert!(at_least_one("0").is_err() && logprobs("1001").is_err());
    }
}
