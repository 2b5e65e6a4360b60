//! BLEU-1 of one sentence: `evaluate`'s `bleu` with `max_order=1` and its default tokenizer, 13a.

use std::sync::LazyLock;

use regex::Regex;

use super::{shared, words};

/// mteval's v13a: what is put between spaces, in this order.
static SPLITS: LazyLock<[(Regex, &str); 4]> = LazyLock::new(|| {
    let rule = |pattern| Regex::new(pattern).expect("the pattern is valid");
    [
        (rule(r"([{-~\[-` -&(-+:-@/])"), " $1 "),
        (rule(r"([^0-9])([.,])"), "$1 $2 "),
        (rule(r"([.,])([^0-9])"), " $1 $2"),
        (rule(r"([0-9])(-)"), "$1 $2 "),
    ]
});

/// Clipped precision of the prediction's words times the penalty for being shorter than the reference.
pub(super) fn bleu_1(reference: &str, prediction: &str) -> f64 {
    let reference = tokenize(reference);
    let prediction = tokenize(prediction);
    let reference = words(&reference).collect::<Vec<_>>();
    let prediction = words(&prediction).collect::<Vec<_>>();
    if reference.is_empty() || prediction.is_empty() {
        return 0.0;
    }
    let precision = shared(&prediction, &reference) as f64 / prediction.len() as f64;
    let ratio = prediction.len() as f64 / reference.len() as f64;
    let brevity = if ratio > 1.0 { 1.0 } else { (1.0 - 1.0 / ratio).exp() };
    precision * brevity
}

/// The words with spaces between them.
fn tokenize(text: &str) -> String {
    let mut text = text.replace("<skipped>", "").replace("-\n", "").replace('\n', " ");
    for (entity, character) in [("&quot;", "\""), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")] {
        text = text.replace(entity, character);
    }
    let mut text = format!(" {text} ");
    for (pattern, replacement) in &*SPLITS {
        text = pattern.replace_all(&text, *replacement).into_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Two of three words match; as long as the reference.
        assert!((bleu_1("a nodule there", "a mass there") - 2.0 / 3.0).abs() < 1e-15);
        // One word of four: e^(1 - 4).
        assert!((bleu_1("a b c d", "a") - (-3.0_f64).exp()).abs() < 1e-15);
        assert_eq!((bleu_1("a", "A"), bleu_1("a", " "), bleu_1("", "a")), (0.0, 0.0, 0.0));
    }

    #[test]
    fn numbers_stay_whole_and_marks_come_off() {
        let tokens = |text| words(&tokenize(text)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(tokens("a 1.5-cm nodule, (left)."), ["a", "1.5", "-", "cm", "nodule", ",", "(", "left", ")", "."]);
        assert_eq!(tokens("HU&lt;0 non-\nspecific"), ["HU", "<", "0", "nonspecific"]);
    }
}
