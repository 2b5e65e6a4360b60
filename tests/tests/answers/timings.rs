//! Timings begin with the call and hold nothing of other questions' prompts.
use super::*;
use std::time::Instant;

/// The second question waits for the first, and that counts: it begins once the first has ended.
#[test]
fn a_question_that_waits_has_waited() {
    let engine = exact("b_score15", 1);
    let volume = encode(&engine, "b_score15");
    let request = short(9);
    let results = together(&engine, &[(&volume, &request); 2]);
    let timings = results.iter().map(|result| result.as_ref().expect("it fits").timings).collect::<Vec<_>>();
    for timings in &timings {
        let parts = timings.queued_ms + timings.tgis_ms + timings.prefill_ms;
        assert!((timings.first_token_ms - parts).abs() < 1e-6, "{timings:?}");
    }
    let [first, second] = timings[..] else { panic!("two answers") };
    // Both came at the same time, but for what tokenising the second one took.
    let whole = first.first_token_ms + first.decode_ms;
    assert!(second.queued_ms + 5.0 >= whole && second.first_token_ms > second.queued_ms, "{first:?} {second:?}");
}

/// Questions begin and end beside one that goes on: the time of its steps is its own, that of their prompts is not.
#[test]
fn decoding_holds_no_neighbours_prompts() {
    let engine = exact("b_score15", 2);
    let volume = encode(&engine, "b_score15");
    let long = short(12);
    let one = short(1);
    let called = Instant::now();
    let answers = together(&engine, &[&long, &one, &one, &one, &one].map(|request| (&volume, request)));
    let all = called.elapsed().as_secs_f64() * 1e3;
    let timings: Vec<_> = answers.iter().map(|answer| answer.as_ref().expect("it fits").timings).collect();
    assert!(timings[0].decode_ms > 0.0 && timings[0].first_token_ms + timings[0].decode_ms <= all, "{timings:?}");
    assert!(timings[1..].iter().all(|timings| timings.decode_ms == 0.0), "{timings:?}");
}
