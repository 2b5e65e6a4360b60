//! What a caller of the engine may rely on, on the CPU: the same bits in every company, a result for each request, and
//! text, log-probabilities and timings that are what they say.
use engine_tests::golden::Goldens;
use med2e3::{Answer, EncodedVolume, Engine, LoadOptions, Question, Request, TgisMode, TokenEvent};
use med2e3_kernels::{Cpu, Device, Precision};
use std::ops::ControlFlow;
use std::sync::Arc;

mod failing;
mod foreign;
mod numbers;
mod prefix;
mod requests;
mod steps;
mod streams;
mod timings;

const EXACT: Cpu = Cpu { precision: Precision::Exact };

/// A golden model, loaded.
fn load(model: &str, device: Arc<dyn Device>, options: &LoadOptions) -> Engine {
    let folder = Goldens::open().model_folder(model);
    let opened = med2e3_loaders::ModelFolder::open(folder.path()).expect("a model");
    Engine::load(device, &opened, options, &mut |_| ()).expect("it loads")
}

/// A golden model that answers `batch` questions at a time in exact precision.
fn exact(model: &str, batch: usize) -> Engine {
    load(model, Arc::new(EXACT), &LoadOptions { batch, ..LoadOptions::default() })
}

/// As the golden model's engine sees its volume.
fn encode(engine: &mut Engine, model: &str) -> EncodedVolume {
    engine.encode(&Goldens::open().volume(model), &mut |_| ()).expect("the volume fits")
}

fn go(_: TokenEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn ask(engine: &mut Engine, volume: &EncodedVolume, request: &Request) -> Answer {
    engine.ask(volume, request, &mut go).expect("it fits")
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
