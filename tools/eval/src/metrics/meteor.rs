//! METEOR, as nltk 3.8.1's `single_meteor_score` computes it with its default parameters.

use super::{WordNet, porter};

const ALPHA: f64 = 0.9;
const BETA: i32 = 3;
const GAMMA: f64 = 0.5;

/// A word and its place in the text.
type Word = (usize, String);

/// Aligns words that are the same, then those with the same stem, then synonyms; the harmonic mean of precision and
/// recall loses up to half where the aligned words are scattered.
pub(super) fn meteor(reference: &[String], prediction: &[String], wordnet: Option<&WordNet>) -> f64 {
    let numbered = |text: &[String]| text.iter().map(|word| word.to_lowercase()).enumerate().collect::<Vec<Word>>();
    let mut hypothesis = numbered(prediction);
    let mut target = numbered(reference);
    let mut matches = align(&mut hypothesis, &mut target, |a| vec![a.to_owned()]);
    for (_, word) in hypothesis.iter_mut().chain(&mut target) {
        *word = porter::stem(word);
    }
    matches.extend(align(&mut hypothesis, &mut target, |a| vec![a.to_owned()]));
    if let Some(wordnet) = wordnet {
        // nltk looks up the stems here, not the words.
        matches.extend(align(&mut hypothesis, &mut target, |stem| wordnet.synonyms(stem)));
    }
    if matches.is_empty() {
        return 0.0;
    }
    matches.sort_unstable();
    let count = matches.len() as f64;
    let precision = count / prediction.len() as f64;
    let recall = count / reference.len() as f64;
    let mean = precision * recall / (ALPHA * precision + (1.0 - ALPHA) * recall);
    let breaks = matches.windows(2).filter(|pair| pair[1] != (pair[0].0 + 1, pair[0].1 + 1)).count();
    let chunks = (breaks + 1) as f64;
    (1.0 - GAMMA * (chunks / count).powi(BETA)) * mean
}

/// Takes pairs out of both lists: from the last word of the hypothesis on, each with the last word of the target that
/// is among its `equals`.
fn align(
    hypothesis: &mut Vec<Word>,
    target: &mut Vec<Word>,
    equals: impl Fn(&str) -> Vec<String>,
) -> Vec<(usize, usize)> {
    let mut matches = Vec::new();
    for i in (0..hypothesis.len()).rev() {
        let equals = equals(&hypothesis[i].1);
        if let Some(j) = target.iter().rposition(|(_, word)| equals.contains(word)) {
            matches.push((hypothesis.remove(i).0, target.remove(j).0));
        }
    }
    matches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(reference: &str, prediction: &str) -> f64 {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        meteor(&words(reference), &words(prediction), None)
    }

    #[test]
    fn by_hand() {
        // All four words, one chunk: 1 - 0.5 / 64.
        assert!((score("a cyst is seen", "a cyst is seen") - (1.0 - 0.5 / 64.0)).abs() < 1e-15);
        // Both words, two chunks: 1 - 0.5.
        assert!((score("left lung", "lung left") - 0.5).abs() < 1e-15);
        // The stem matches.
        assert!((score("nodules", "Nodule") - 0.5).abs() < 1e-15);
        assert_eq!(score("mass", "cyst"), 0.0);
    }
}
