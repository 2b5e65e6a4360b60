//! Questions that come, go and end at any time are answered as if each were alone.
use super::*;
use engine_tests::schedule::{alone, run, volumes};
use med2e3::{Error, Sampling};

/// Greedy, drawn, ranked, given and traced answers; short prompts and long ones.
fn requests() -> Vec<Request> {
    let drawn = Sampling { temperature: 0.9, top_k: 0, top_p: 0.95, seed: 5 };
    let of = |prompt: &str, max: usize| Request { max_new_tokens: Some(max), ..Request::new(prompt) };
    vec![
        of("Which plane is shown?", 6),
        of("Describe what you see in this scan, from the first slice to the last.", 9),
        Request { sampling: drawn, ..of("Is there a nodule?", 7) },
        of("Which plane is shown?", 0),
        Request { logprobs: 3, ..of("Where is it?", 5) },
        Request { forced: Some((0..30).map(|step| 3 + step * 11).collect()), logprobs: 2, ..of("What?", 40) },
        Request { trace: true, ..of("Is there a nodule?", 2) },
        of("Is there a nodule?", 1),
    ]
}

fn check(model: &str, precision: Precision, schedules: u64) {
    let requests = requests();
    let voxels = volumes(model);
    let alone = alone(&load(model, Arc::new(Cpu { precision }), &LoadOptions::default()), &requests, &voxels);
    let mut compared = 0;
    // Single layers; whole passes of joined prompts; joined prompts layer by layer, of which some leave; few pages.
    for (batch, threads, cache_tokens, unit_steps, prompt_rows) in [
        (1, 1, None, 4, None),
        (3, 2, None, 0, None),
        (32, 4, None, 1 << 20, Some(1 << 20)),
        (16, 3, None, 8, Some(1000)),
        (8, 2, Some(3 * 192), 1 << 20, None),
    ] {
        let threads = std::num::NonZeroUsize::new(threads);
        // Twelve questions may hold a place each, though there are three volumes.
        let options = LoadOptions {
            batch,
            threads,
            cache_tokens,
            unit_steps,
            prompt_rows,
            volumes: 12,
            ..LoadOptions::default()
        };
        let engine = load(model, Arc::new(Cpu { precision }), &options);
        for seed in 0..schedules {
            compared += run(&engine, &requests, &voxels, &alone, 1000 * batch as u64 + seed);
        }
        assert_idle(&engine);
    }
    assert!(compared as u64 > 4 * schedules * 5, "only {compared} answers were compared");
}

/// Ten schedules of twelve questions on each of five engines, for four models; more with MED2E3_LONG.
#[test]
fn every_answer_is_the_one_it_gets_alone() {
    let schedules = if std::env::var_os("MED2E3_LONG").is_some() { 250 } else { 10 };
    for (model, precision) in [
        ("b_score15", Precision::Exact),
        ("b_score15", Precision::FastTwin),
        ("b_spatial", Precision::Exact),
        ("c_score9", Precision::FastTwin),
    ] {
        check(model, precision, schedules);
    }
}

/// Many threads on one engine: each question is answered as alone, or the engine says that it is busy.
#[test]
fn threads_share_an_engine() {
    let model = "b_score15";
    let rounds = 40;
    let requests = requests();
    let voxels = volumes(model);
    let alone = alone(&exact(model, 1), &requests, &voxels);
    let options = LoadOptions { batch: 8, queue: 24, volumes: 3, ..LoadOptions::default() };
    let engine = load(model, Arc::new(EXACT), &options);
    let volumes: Vec<Volume> = voxels.iter().map(|voxels| engine.encode(voxels.as_slice()).expect("it fits")).collect();
    let requests = &requests;
    let volumes = &volumes;
    let alone = &alone;
    let busy: usize = std::thread::scope(|scope| {
        let ask = |thread: usize| {
            let engine = engine.clone();
            move || {
                let mut busy = 0;
                for round in 0..rounds {
                    let volume = (thread + round) % 3;
                    let request = (thread * 7 + round) % requests.len();
                    match engine.ask(&volumes[volume], requests[request].clone()) {
                        Ok(answer) => assert_eq!(facts(&answer), alone[volume][request]),
                        Err(Error::Busy { waiting }) => {
                            assert_eq!(waiting, 24);
                            busy += 1;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                busy
            }
        };
        let threads: Vec<_> = (0..64).map(|thread| scope.spawn(ask(thread))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    println!("{busy} of {} questions met a full queue", 64 * rounds);
    assert!(busy < 64 * rounds, "none was answered");
    assert_idle(&engine);
}
