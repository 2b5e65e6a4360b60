//! ROUGE-1 F1, as the `rouge_score` package computes it without its stemmer.

use super::shared;

/// F1 of the words that both texts hold; words are runs of a-z and 0-9 in lower case.
pub(super) fn rouge_1(reference: &str, prediction: &str) -> f64 {
    let reference = reference.to_lowercase();
    let prediction = prediction.to_lowercase();
    let reference = tokens(&reference);
    let prediction = tokens(&prediction);
    let common = shared(&prediction, &reference) as f64;
    let precision = common / prediction.len().max(1) as f64;
    let recall = common / reference.len().max(1) as f64;
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

fn tokens(text: &str) -> Vec<&str> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.split(|c| !word(c)).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Common: the, right, lung. Precision 3/4, recall 3/5.
        let p = 0.75;
        let r = 0.6;
        assert!((rouge_1("The right lung, lower lobe", "the RIGHT upper lung") - 2.0 * p * r / (p + r)).abs() < 1e-15);
        assert_eq!((rouge_1("a", "b"), rouge_1("", ""), rouge_1("é", "é")), (0.0, 0.0, 0.0));
    }
}
