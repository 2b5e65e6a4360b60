//! The metrics against the Python packages, on pairs scored by `tools/research/golden/metrics/make.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

#[derive(Deserialize)]
struct Expected {
    stems: BTreeMap<String, String>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    reference: String,
    prediction: String,
    bleu_1: f64,
    rouge_1: f64,
    meteor: f64,
    meteor_with_data: f64,
    tokens: Vec<String>,
    tokens_with_data: Vec<String>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../research/golden/metrics")
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(folder().join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// With WordNet and Punkt in the formats of the real ones.
fn scorer_with_data() -> Scorer {
    Scorer {
        sentences: Sentences::read(&folder().join("punkt")).unwrap(),
        wordnet: Some(WordNet::read(&folder().join("wordnet")).unwrap()),
    }
}

/// The same sums in another order: rounding is all that may differ.
const TOLERANCE: f64 = 1e-9;

#[test]
fn scores_equal_those_of_the_python_packages() {
    let plain = Scorer::default();
    let with_data = scorer_with_data();
    let mut wrong = Vec::new();
    let pairs = expected().pairs;
    assert!(pairs.len() >= 200);
    for (index, pair) in pairs.iter().enumerate() {
        let found = plain.text(&pair.reference, &pair.prediction);
        let learned = with_data.text(&pair.reference, &pair.prediction);
        let both = [
            ("BLEU-1", found.bleu_1, pair.bleu_1),
            ("ROUGE-1", found.rouge_1, pair.rouge_1),
            ("METEOR", found.meteor, pair.meteor),
            ("METEOR with data", learned.meteor, pair.meteor_with_data),
        ];
        for (name, found, wanted) in both.into_iter().filter(|(_, a, b)| (a - b).abs() > TOLERANCE || a.is_nan()) {
            wrong.push(format!("pair {index}, {name}: {found} in place of {wanted}: {:?}", pair.prediction));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn words_equal_nltks() {
    let plain = Scorer::default();
    let with_data = scorer_with_data();
    for pair in expected().pairs {
        let words = |scorer: &Scorer| treebank::word_tokenize(&pair.reference, &scorer.sentences);
        assert_eq!(words(&plain), pair.tokens, "{:?}", pair.reference);
        assert_eq!(words(&with_data), pair.tokens_with_data, "{:?}", pair.reference);
    }
}

#[test]
fn stems_equal_nltks() {
    let stems = expected().stems;
    assert!(stems.len() > 300);
    for (word, wanted) in stems {
        assert_eq!(porter::stem(&word), wanted, "{word}");
    }
}
