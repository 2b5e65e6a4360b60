//! How likely each of some options is.

use std::fmt::Write;

use med2e3::{Answer, FinishReason, Scoring};
use serde::Serialize;

/// The options in the order in which they were given. Field names are a public contract.
#[derive(Debug, Serialize)]
pub struct Options {
    options: Vec<OptionReport>,
    /// The place of the one with the largest mean, from 0.
    best_option: usize,
}

/// One option as the answer: natural logarithms of probabilities, before any temperature.
#[derive(Debug, Serialize)]
struct OptionReport {
    text: String,
    /// Of the whole answer, its end included.
    logprob: f64,
    /// The mean over its tokens, which does not favour short options.
    mean_logprob: f64,
    /// Of each token, the one that ends the answer last.
    logprobs: Vec<f32>,
}

impl Options {
    /// Of texts that were scored.
    pub fn new(texts: &[String], scoring: &Scoring) -> Self {
        let report = |(text, score): (&String, &med2e3::OptionScore)| OptionReport {
            text: text.clone(),
            logprob: score.sum,
            mean_logprob: score.mean,
            logprobs: score.logprobs.clone(),
        };
        Self { options: texts.iter().zip(&scoring.options).map(report).collect(), best_option: scoring.best }
    }

    /// A line for each, the best marked.
    pub fn table(&self) -> String {
        let mut text = String::from("   mean log-probability      sum  option\n");
        for (at, option) in self.options.iter().enumerate() {
            let mark = if at == self.best_option { '*' } else { ' ' };
            let OptionReport { text: name, logprob, mean_logprob, .. } = option;
            // Writing to a String cannot fail.
            let _ = writeln!(text, " {mark} {mean_logprob:>20.4} {logprob:>8.3}  {}", med2e3_loaders::sentence(name));
        }
        text
    }

    /// The best option as an answer.
    pub fn answer(&self, scoring: Scoring) -> Answer {
        let Scoring { mut options, best, slice_scores, prompt_tokens, cached_tokens, prompt_ids, timings, .. } =
            scoring;
        let mut token_ids = options.swap_remove(best).token_ids;
        token_ids.pop();
        Answer {
            text: self.options[best].text.clone(),
            token_ids,
            finish_reason: FinishReason::Stop,
            slice_scores,
            prompt_tokens,
            cached_tokens,
            prompt_ids,
            top_logprobs: Vec::new(),
            logprobs: Vec::new(),
            end_logprob: None,
            timings,
            trace: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_option_is_marked() {
        let option = |text: &str, mean: f64| OptionReport {
            text: text.into(),
            logprob: 2.0 * mean,
            mean_logprob: mean,
            logprobs: vec![mean as f32; 2],
        };
        let options = Options { options: vec![option("A. Lung", -1.5), option("B. Liver", -0.25)], best_option: 1 };
        let lines = [
            "   mean log-probability      sum  option",
            "                -1.5000   -3.000  A. Lung",
            " *              -0.2500   -0.500  B. Liver",
        ];
        assert_eq!(options.table().lines().collect::<Vec<_>>(), lines);
    }
}
