//! Answers have the same bits at every number of rows of a decoding step, in every precision.
use super::*;

/// Base b: its weights are bf16, and the query and output projections have whole blocks of 32, so that `fast` would
/// multiply them in bf16.
const MODEL: &str = "b_score15";

/// Tokens of each answer.
const TOKENS: u32 = 40;

/// Questions, more than a step of the device takes, with answers that are given, each another.
fn requests() -> Vec<Request> {
    let prompts = ["Which plane is shown?", "Is there a nodule?", "Where is the mass?", "What organ is it?"];
    let request = |row: u32| Request {
        forced: Some((0..TOKENS).map(|step| 3 + (row * 101 + step * 37) % 370).collect()),
        logprobs: 4,
        ..Request::new(prompts[row as usize % prompts.len()])
    };
    (0..33).map(request).collect()
}

fn check(precision: Precision) {
    let options = LoadOptions { batch: 33, ..LoadOptions::default() };
    let engine = load(MODEL, Arc::new(Cpu { precision }), &options);
    let volume = encode(&engine, MODEL);
    let requests = requests();
    let alone: Vec<String> = requests.iter().map(|request| facts(&ask(&engine, &volume, request))).collect();
    assert_ne!(alone[0], alone[4], "answers that can be told apart");
    for rows in [2, 8, 9, 16, 17, 33] {
        let questions: Vec<_> = requests[..rows].iter().map(|request| (&volume, request)).collect();
        for (row, (got, want)) in together(&engine, &questions).iter().zip(&alone).enumerate() {
            let got = facts(got.as_ref().expect("it fits"));
            assert!(got == *want, "{precision:?}, {rows} rows, row {row}:\n{got}\nalone:\n{want}");
        }
    }
}

#[test]
fn any_number_of_rows_in_exact_precision() {
    check(Precision::Exact);
}

#[test]
fn any_number_of_rows_in_fast_precision() {
    check(Precision::Fast);
}

/// The products of `fast` in plain Rust, so that a machine without instructions for bf16 tests the same choice.
#[test]
fn any_number_of_rows_in_fast_precision_by_its_twin() {
    check(Precision::FastTwin);
}

/// Otherwise the test above would show nothing: with this model the twin computes other bits than `exact`.
#[test]
fn the_twin_takes_part() {
    let scores = |precision| {
        let engine = load(MODEL, Arc::new(Cpu { precision }), &LoadOptions::default());
        let volume = encode(&engine, MODEL);
        facts(&ask(&engine, &volume, &Request { logprobs: 4, ..short(4) }))
    };
    assert_ne!(scores(Precision::FastTwin), scores(Precision::Exact));
}
