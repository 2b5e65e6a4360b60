//! Questions that come, go and end at any time are answered as if each were alone.
use super::*;
use med2e3::{Answering, Error, FinishReason, Sampling};
use med2e3_kernels::ops::sample::philox;

/// Random numbers of a schedule.
struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.drawn += 1;
        (philox::uniform(self.seed, self.drawn) * limit as f32) as usize
    }
}

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

/// What each request is answered about each volume by an engine that does nothing else.
fn alone(model: &str, precision: Precision, voxels: &[Vec<f32>]) -> Vec<Vec<String>> {
    let engine = load(model, Arc::new(Cpu { precision }), &LoadOptions::default());
    let volumes = voxels.iter().map(|voxels| engine.encode(voxels.as_slice()).expect("it fits"));
    volumes.map(|volume| requests().iter().map(|request| facts(&ask(&engine, &volume, request))).collect()).collect()
}

/// The model's volume and others, cheap to tell apart.
fn volumes(model: &str) -> Vec<Vec<f32>> {
    let voxels = Goldens::open().volume(model);
    let turned = |by: usize| {
        let mut turned = voxels.clone();
        turned.rotate_left(by * voxels.len() / 3);
        turned
    };
    (0..3).map(turned).collect()
}

/// One question on its way: which it is, and after how many events its reader leaves.
struct Asked {
    volume: usize,
    request: usize,
    answering: Answering,
    leaves_after: usize,
    late: bool,
}

/// A random schedule; gives how many answers were compared.
fn run(engine: &Engine, voxels: &[Vec<f32>], alone: &[Vec<String>], seed: u64) -> usize {
    let mut draws = Draws { seed, drawn: 0 };
    let requests = requests();
    let mut asked: Vec<Asked> = Vec::new();
    let mut compared = 0;
    for _ in 0..12 {
        let volume = draws.below(voxels.len());
        // Handles of volumes are dropped at once: the question keeps its own.
        let handle = engine.encode(voxels[volume].as_slice()).expect("a place is free");
        let request = draws.below(requests.len());
        let late = draws.below(9) == 0;
        let deadline = late.then(|| Instant::now() + Duration::from_micros(draws.below(3000) as u64));
        let tenant = draws.below(3) as u64;
        let asking = Request { deadline, tenant, ..requests[request].clone() };
        let leaves_after = if draws.below(4) == 0 { draws.below(6) } else { usize::MAX };
        let answering = engine.submit(&handle, asking).expect("it fits");
        asked.push(Asked { volume, request, answering, leaves_after, late });
        if draws.below(3) == 0 {
            let at = draws.below(asked.len());
            compared += usize::from(finish(asked.swap_remove(at), alone));
        }
    }
    asked.into_iter().map(|asked| usize::from(finish(asked, alone))).sum::<usize>() + compared
}

/// Reads an answer to its end, or as far as its reader stays; whether it was compared.
fn finish(asked: Asked, alone: &[Vec<String>]) -> bool {
    let Asked { volume, request, answering, leaves_after, late } = asked;
    let mut events = 0;
    let answer = answering.finish_with(&mut |_| {
        events += 1;
        if events > leaves_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match answer {
        Ok(answer) if answer.finish_reason != FinishReason::Cancelled => {
            assert_eq!(facts(&answer), alone[volume][request], "volume {volume}, request {request}");
            true
        }
        Ok(_) => {
            assert!(events > leaves_after, "nobody broke it off");
            false
        }
        Err(error) => {
            assert!(late && matches!(error, Error::Deadline), "{error}");
            false
        }
    }
}

fn check(model: &str, precision: Precision, schedules: u64) {
    let voxels = volumes(model);
    let alone = alone(model, precision, &voxels);
    let mut compared = 0;
    for (batch, threads, cache_tokens, unit_steps) in
        [(1, 1, None, 4), (3, 2, None, 0), (32, 4, None, 0), (8, 2, Some(3 * 192), 4)]
    {
        let threads = std::num::NonZeroUsize::new(threads);
        // Twelve questions may hold a place each, though there are three volumes.
        let options = LoadOptions { batch, threads, cache_tokens, unit_steps, volumes: 12, ..LoadOptions::default() };
        let engine = load(model, Arc::new(Cpu { precision }), &options);
        for seed in 0..schedules {
            compared += run(&engine, &voxels, &alone, 1000 * batch as u64 + seed);
        }
        assert_idle(&engine);
    }
    assert!(compared as u64 > 4 * schedules * 5, "only {compared} answers were compared");
}

/// Fifty schedules of twelve questions on each of four engines; more with MED2E3_LONG.
#[test]
fn every_answer_is_the_one_it_gets_alone() {
    let schedules = if std::env::var_os("MED2E3_LONG").is_some() { 250 } else { 13 };
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
    let (model, rounds) = ("b_score15", 40);
    let voxels = volumes(model);
    let alone = alone(model, Precision::Exact, &voxels);
    let options = LoadOptions { batch: 8, queue: 24, volumes: 3, ..LoadOptions::default() };
    let engine = load(model, Arc::new(EXACT), &options);
    let volumes: Vec<Volume> = voxels.iter().map(|voxels| engine.encode(voxels.as_slice()).expect("it fits")).collect();
    let (requests, volumes, alone) = (&requests(), &volumes, &alone);
    let busy: usize = std::thread::scope(|scope| {
        let ask = |thread: usize| {
            let engine = engine.clone();
            move || {
                let mut busy = 0;
                for round in 0..rounds {
                    let (volume, request) = ((thread + round) % 3, (thread * 7 + round) % requests.len());
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
