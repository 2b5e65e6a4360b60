//! Two engines on one GPU, each on a thread of its own.
use engine_tests::golden::{self, Goldens};
use med2e3::{Engine, Request};
use med2e3_kernels::Device;
use std::sync::Arc;

use super::gpu;

/// Questions of each engine.
const ROUNDS: usize = 4;

fn load(goldens: &Goldens, model: &str, gpu: Arc<dyn Device>) -> Engine {
    let case = goldens.cases().into_iter().find(|case| case.model == model).expect("listed");
    golden::load(gpu, goldens.model_folder(model).path(), &case)
}

/// What the engine answers, tokens and log-probabilities, with the volume encoded again for each question.
fn answers(engine: &Engine, voxels: &[f32]) -> Vec<(Vec<u32>, Vec<f32>)> {
    let answer = |round: usize| {
        let volume = engine.encode(voxels).expect("the volume fits");
        // Greedy steps and steps that store logits are recorded apart.
        let request = Request { max_new_tokens: Some(5), logprobs: round % 2, ..Request::new("Which plane is shown?") };
        let answer = engine.ask(&volume, request.clone()).expect("it fits");
        (answer.token_ids, answer.logprobs)
    };
    (0..ROUNDS).map(answer).collect()
}

/// While one engine records a step the other waits; neither fails, and both answer as they do on a GPU of their own.
#[test]
fn two_engines_share_a_gpu() {
    let goldens = Goldens::open();
    let models = ["a_score15", "c_score9"];
    let want = models.map(|model| answers(&load(&goldens, model, gpu(0)), &goldens.volume(model)));
    let shared = gpu(0);
    let engines = models.map(|model| load(&goldens, model, shared.clone()));
    let got = std::thread::scope(|scope| {
        let threads: Vec<_> = engines
            .iter()
            .zip(models)
            .map(|(engine, model)| {
                let voxels = goldens.volume(model);
                scope.spawn(move || answers(engine, &voxels))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(got, want);
}
