//! What goes wrong for one caller, for the device or for the engine's thread: every call ends, with an error by type.
use super::failing::Failing;
use super::*;
use med2e3::{Error, STOP_BYTES_MAX, STOPS_MAX};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// An engine that is busy with a long answer, and the answer.
fn busy(queue: usize) -> (Engine, Volume, med2e3::Answering) {
    let engine = load("b_score15", Arc::new(EXACT), &LoadOptions { queue, ..LoadOptions::default() });
    let volume = encode(&engine, "b_score15");
    let mut long = engine.submit(&volume, Request { forced: Some(vec![5; 50]), ..short(50) }).expect("it fits");
    assert!(long.next_event().is_some());
    (engine, volume, long)
}

#[test]
fn a_full_queue_says_so_and_goes_on() {
    let (engine, volume, long) = busy(2);
    let waiting = engine.submit_all((0..5).map(|_| (&volume, short(1))));
    let refused = waiting.iter().filter(|one| matches!(one, Err(Error::Busy { waiting: 2 }))).count();
    assert!(refused >= 2, "{refused} of 5 were refused");
    let said = Error::Busy { waiting: 2 }.to_string();
    assert_eq!(said, "the engine is busy, and 2 questions wait; try again later");
    drop(long);
    for one in waiting.into_iter().flatten() {
        assert_eq!(one.finish().expect("its turn comes").token_ids.len(), 1);
    }
}

#[test]
fn a_deadline_ends_a_question_that_waits_or_runs() {
    let (engine, volume, long) = busy(9);
    let past = Request { deadline: Some(Instant::now()), ..short(3) };
    assert!(matches!(engine.ask(&volume, past), Err(Error::Deadline)));
    let soon = Instant::now() + Duration::from_millis(2);
    let waits = engine.submit(&volume, Request { deadline: Some(soon), ..short(60) }).expect("it fits");
    assert!(matches!(waits.finish(), Err(Error::Deadline)));
    drop(long);
    let far = Instant::now() + Duration::from_secs(600);
    assert!(engine.ask(&volume, Request { deadline: Some(far), ..short(3) }).is_ok());
}

/// A reader may cancel from another thread, or never come back.
#[test]
fn cancelled_answers_keep_what_there_was() {
    let (engine, volume, mut long) = busy(9);
    let canceller = long.canceller();
    std::thread::spawn(move || canceller.cancel()).join().expect("no panic");
    while long.next_event().is_some_and(|event| event.is_ok()) {}
    assert!(long.next_event().is_none());
    let forgotten = engine.submit(&volume, short(30)).expect("it fits");
    let after = engine.ask(&volume, short(3)).expect("nothing is held up");
    assert_eq!(after.token_ids.len(), 3);
    assert_eq!(forgotten.finish().expect("it was answered meanwhile").token_ids.len(), 30);
}

#[test]
fn dropping_the_engine_ends_every_stream() {
    let (engine, volume, long) = busy(9);
    let waits = engine.submit(&volume, short(3)).expect("it fits");
    let clone = engine.clone();
    drop(engine);
    assert!(clone.check(&short(3)).is_ok(), "a clone keeps it");
    drop(clone);
    for stream in [long, waits] {
        assert!(matches!(stream.finish(), Err(Error::Stopped)));
    }
    volume.wait().expect("it was encoded");
    let other = exact("b_score15", 1);
    assert!(matches!(other.ask(&volume, short(3)), Err(Error::Foreign)));
}

/// An encode whose handles are gone is given up; one that waits when the engine goes says so.
#[test]
fn volumes_that_nobody_waits_for_are_given_up() {
    let engine = load("b_score15", Arc::new(EXACT), &LoadOptions { volumes: 1, ..LoadOptions::default() });
    let mut voxels = Goldens::open().volume("b_score15");
    for _ in 0..20 {
        voxels.rotate_left(7);
        drop(engine.encode(voxels.as_slice()).expect("the place is free"));
    }
    let last = encode(&engine, "b_score15");
    assert!(matches!(engine.encode(voxels), Err(Error::Busy { .. })));
    assert_eq!(engine.ask(&last, short(2)).expect("it fits").token_ids.len(), 2);
    let mut seen = Vec::new();
    let other = exact("a_score15", 1);
    let volume = encode(&other, "a_score15");
    volume
        .wait_with(&mut |progress| {
            seen.push(progress);
            ControlFlow::Continue(())
        })
        .expect("it fits");
    assert!(matches!(encode(&exact("a_score15", 1), "a_score15").wait(), Ok(()) | Err(Error::Stopped)));
}

/// A failure of the device, or a panic, in each kind of unit: every stream and volume ends with the same error, and so
/// does every later call.
#[test]
fn a_failure_ends_everything_with_one_error() {
    for panics in [false, true] {
        for lived in [0, 1, 2, 3, 5] {
            let device = Arc::new(Failing { left: AtomicUsize::new(usize::MAX), panics });
            let engine = load("b_score15", device.clone(), &LoadOptions { batch: 2, ..LoadOptions::default() });
            let volume = encode(&engine, "b_score15");
            volume.wait().expect("the device works");
            let later = Goldens::open().volume("b_score15").into_iter().rev().collect::<Vec<f32>>();
            device.left.store(lived, Ordering::Relaxed);
            let streams = engine.submit_all((0..4).map(|_| (&volume, short(9))));
            let encoding = engine.encode(later.as_slice());
            let mut said: Vec<String> = Vec::new();
            for stream in streams {
                said.push(stream.and_then(|stream| stream.finish()).expect_err("the device fails").to_string());
            }
            // Encoders may be done before the device fails.
            said.extend(encoding.and_then(|volume| volume.wait()).err().map(|error| error.to_string()));
            said.push(engine.ask(&volume, short(1)).expect_err("it does no more").to_string());
            assert!(said.iter().all(|text| *text == said[0]), "{said:?}");
            let want = if panics {
                "the engine has failed and does no more: a panic: the device's driver"
            } else {
                "attention_paged"
            };
            assert!(said[0].contains(want), "{}", said[0]);
        }
    }
}

#[test]
fn stop_texts_end_answers_and_impossible_ones_are_refused() {
    let engine = exact("a_score15", 1);
    let volume = encode(&engine, "a_score15");
    let free = ask(&engine, &volume, &short(24));
    let whole = free.text.clone();
    let middle = (1..whole.len()).find(|&at| at * 2 > whole.len() && whole.is_char_boundary(at)).expect("some text");
    let stop: String = whole[middle..].chars().take(2).collect();
    let cut = whole.find(&stop).expect("it is in the text");
    let stopped = ask(&engine, &volume, &Request { stop: vec![stop.clone()], ..short(24) });
    assert_eq!((stopped.text.as_str(), stopped.finish_reason), (&whole[..cut], med2e3::FinishReason::Stop));
    assert_eq!(stopped.token_ids, free.token_ids[..stopped.token_ids.len()]);
    for (stop, text) in [
        (vec![String::new()], "a text that stops the answer has 0 bytes, 1 to 256 are possible"),
        (vec!["x".repeat(100_000)], "a text that stops the answer has 100000 bytes, 1 to 256 are possible"),
        (vec!["x".into(); STOPS_MAX + 1], "17 texts stop the answer, at most 16 may"),
    ] {
        let refused = engine.check(&Request { stop, ..short(3) });
        assert!(matches!(&refused, Err(Error::Request(said)) if said == text), "{refused:?}");
    }
    assert!(engine.check(&Request { stop: vec!["x".repeat(STOP_BYTES_MAX); STOPS_MAX], ..short(3) }).is_ok());
}

/// Pages for fewer tokens than a question may take: it is refused before it waits for ever.
#[test]
fn a_question_that_can_never_fit_is_refused() {
    let options = LoadOptions { cache_tokens: Some(100), ..LoadOptions::default() };
    let engine = load("b_score15", Arc::new(EXACT), &options);
    let volume = encode(&engine, "b_score15");
    let refused = engine.submit(&volume, Request::new("Which plane is shown?")).err();
    let text = "the question may take 192 tokens of the cache, which has room for 128";
    assert!(matches!(&refused, Some(Error::Request(said)) if said.starts_with(text)), "{refused:?}");
    assert!(engine.ask(&volume, short(2)).is_ok());
}

#[test]
fn loading_can_be_broken_off() {
    let folder = Goldens::open().model_folder("a_score15");
    let opened = med2e3::ModelFolder::open(folder.path()).expect("a model");
    let mut calls = 0;
    let loaded = Engine::load(Arc::new(EXACT), &opened, &LoadOptions::default(), &mut |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(loaded.err(), Some(Error::Cancelled)) && calls == 3);
}
