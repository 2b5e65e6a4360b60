//! Timings begin with the call and hold nothing of other questions' prompts.
use super::*;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(40);

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The second question waits for the first, and that counts: its first token comes after all pauses of the first.
#[test]
fn a_question_that_waits_has_waited() {
    let mut engine = exact("b_score15", 1);
    let volume = encode(&mut engine, "b_score15");
    let request = short(3);
    let questions = [Question { volume: &volume, request: &request }; 2];
    let mut heard = [None; 2];
    let called = Instant::now();
    let answers = engine.ask_many(&questions, &mut |at, _| {
        heard[at].get_or_insert_with(|| milliseconds(called.elapsed()));
        std::thread::sleep(PAUSE);
        ControlFlow::Continue(())
    });
    let pauses = 3.0 * milliseconds(PAUSE);
    for (answer, heard) in answers.iter().zip(heard) {
        let timings = answer.as_ref().expect("it fits").timings;
        assert!(timings.first_token_ms <= heard.expect("it was heard"), "{timings:?}");
        let parts = timings.queued_ms + timings.tgis_ms + timings.prefill_ms;
        assert!((timings.first_token_ms - parts).abs() < 1e-6, "{timings:?}");
    }
    let second = answers[1].as_ref().expect("it fits").timings;
    assert!(second.queued_ms >= pauses && second.first_token_ms >= pauses, "{second:?}");
}

/// Questions begin and end beside one that goes on. The pauses fall into their beginnings, so they are no part of its
/// decoding; the time of its steps is.
#[test]
fn decoding_holds_no_neighbours_prompts() {
    let mut engine = exact("b_score15", 2);
    let volume = encode(&mut engine, "b_score15");
    let long = short(12);
    let one = short(1);
    let questions = [&long, &one, &one, &one, &one].map(|request| Question { volume: &volume, request });
    let mut steps = 0;
    let called = Instant::now();
    let answers = engine.ask_many(&questions, &mut |at, token| {
        steps += usize::from(at == 0 && token.id.is_some());
        // The first token of a question comes at the end of its prompt; of those behind it, that is all.
        std::thread::sleep(if at > 0 { PAUSE } else { PAUSE / 8 });
        ControlFlow::Continue(())
    });
    let all = milliseconds(called.elapsed());
    let decode = answers[0].as_ref().expect("it fits").timings.decode_ms;
    assert_eq!(steps, 12);
    assert!(decode <= all - 4.0 * milliseconds(PAUSE), "{decode} ms of {all}");
    assert!(decode >= 11.0 * milliseconds(PAUSE / 8), "{decode} ms of {all}");
    for answer in &answers[1..] {
        assert_eq!(answer.as_ref().expect("it fits").timings.decode_ms, 0.0);
    }
}
