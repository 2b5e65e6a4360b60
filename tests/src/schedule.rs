//! Random schedules: questions that come, go and end at any time are answered as if each were alone.
use crate::golden::Goldens;
use med2e3::{Answer, Answering, Engine, Error, FinishReason, Request};
use med2e3_kernels::ops::sample::philox;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

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

/// What each request is answered about each volume by an engine that does nothing else.
///
/// # Panics
/// If one is not.
pub fn alone(engine: &Engine, requests: &[Request], voxels: &[Vec<f32>]) -> Vec<Vec<String>> {
    let volumes = voxels.iter().map(|voxels| engine.encode(voxels.as_slice()).expect("it fits"));
    let answer =
        |volume: &med2e3::Volume, request: &Request| facts(&engine.ask(volume, request.clone()).expect("it fits"));
    volumes.map(|volume| requests.iter().map(|request| answer(&volume, request)).collect()).collect()
}

/// The model's volume and two others, cheap to make.
pub fn volumes(model: &str) -> Vec<Vec<f32>> {
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

/// A random schedule of twelve questions; gives how many answers were compared with `alone`, by volume and request.
///
/// # Panics
/// If an answer differs or has an error that the schedule does not explain.
pub fn run(engine: &Engine, requests: &[Request], voxels: &[Vec<f32>], alone: &[Vec<String>], seed: u64) -> usize {
    let mut draws = Draws { seed, drawn: 0 };
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

/// Waits until nothing runs, and sees that nothing is held.
///
/// # Panics
/// If something is.
pub fn assert_idle(engine: &Engine) {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let stats = engine.stats();
        if stats.waiting == 0 && stats.running == 0 && stats.available_pages == stats.pages {
            return;
        }
        assert!(Instant::now() < limit, "{stats:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// All that an answer says but for the time that it took, floats by their bits.
pub fn facts(answer: &Answer) -> String {
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let top = |step: &Vec<(u32, f32)>| step.iter().map(|&(id, value)| (id, value.to_bits())).collect::<Vec<_>>();
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        (&answer.text, &answer.token_ids),
        (answer.finish_reason, answer.prompt_tokens),
        answer.slice_scores.as_deref().map(bits),
        answer.prompt_ids,
        bits(&answer.logprobs),
        answer.end_logprob.map(f32::to_bits),
        answer.top_logprobs.iter().map(top).collect::<Vec<_>>(),
    )
}
