//! What a caller of the engine may rely on, on the CPU: the same bits in every company, a result for each request, and
//! text, log-probabilities and timings that are what they say.
use engine_tests::golden::Goldens;
use engine_tests::schedule::{assert_idle, facts};
use engine_tests::together;
use med2e3::{Answer, Engine, Event, LoadOptions, Request, TgisMode, Volume};
use med2e3_kernels::{Cpu, Device, Precision};
use std::ops::ControlFlow;
use std::sync::Arc;

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
