//! What a caller of the engine may rely on, on the CPU: the same bits in every company, a result for each request, and
//! text, log-probabilities and timings that are what they say.
use engine_tests::golden::Goldens;
use engine_tests::together;
use med2e3::{Answer, Engine, Event, LoadOptions, Request, TgisMode, Volume};
use med2e3_kernels::{Cpu, Device, Precision};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod failing;
mod faults;
mod foreign;
mod numbers;
mod prefix;
mod requests;
mod schedules;
mod scoring;
mod steps;
mod streams;
mod timings;

const EXACT: Cpu = Cpu { precision: Precision::Exact };

/// A golden model, loaded.
fn load(model: &str, device: Arc<dyn Device>, options: &LoadOptions) -> Engine {
    let folder = Goldens::open().model_folder(model);
    let opened = med2e3_loaders::ModelFolder::open(folder.path()).expect("a model");
    Engine::load(device, &opened, options, &mut |_| ControlFlow::Continue(())).expect("it loads")
}

/// A golden model that answers `batch` questions at a time in exact precision.
fn exact(model: &str, batch: usize) -> Engine {
    load(model, Arc::new(EXACT), &LoadOptions { batch, ..LoadOptions::default() })
}

/// As the golden model's engine sees its volume.
fn encode(engine: &Engine, model: &str) -> Volume {
    engine.encode(Goldens::open().volume(model)).expect("the volume fits")
}

fn ask(engine: &Engine, volume: &Volume, request: &Request) -> Answer {
    engine.ask(volume, request.clone()).expect("it fits")
}

/// A short question.
fn short(max_new_tokens: usize) -> Request {
    Request { max_new_tokens: Some(max_new_tokens), ..Request::new("Which plane is shown?") }
}

/// All that an answer says but for the time that it took, floats by their bits.
fn facts(answer: &Answer) -> String {
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

/// Waits until nothing runs, and sees that nothing is held.
fn assert_idle(engine: &Engine) {
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
