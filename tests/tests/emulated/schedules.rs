//! Random schedules on the GPU, whose steps are recorded and replayed while sequences come, grow and go.
use engine_tests::golden::Goldens;
use engine_tests::schedule::{alone, assert_idle, run, volumes};
use med2e3::{Engine, LoadOptions, Request, Sampling};
use std::ops::ControlFlow;

use super::gpu;

const MODEL: &str = "c_score9";

/// Short answers: the emulator takes a tenth of a second for a token.
fn requests() -> Vec<Request> {
    let of = |prompt: &str, max: usize| Request { max_new_tokens: Some(max), ..Request::new(prompt) };
    let drawn = Sampling { temperature: 0.9, top_k: 0, top_p: 0.95, seed: 5 };
    vec![
        of("?", 4),
        Request { logprobs: 2, ..of("Where?", 2) },
        Request { sampling: drawn, ..of("?", 3) },
        Request { forced: Some(vec![5, 9, 5, 7, 11]), logprobs: 1, ..of("?", 9) },
    ]
}

/// Six schedules, with whole passes and with single layers between two steps; more with MED2E3_LONG.
#[test]
fn every_answer_is_the_one_it_gets_alone() {
    let model = Goldens::open().model_folder(MODEL);
    let folder = med2e3_loaders::ModelFolder::open(model.path()).expect("a model");
    let load = |batch, unit_steps| {
        let options = LoadOptions { batch, unit_steps, volumes: 12, ..LoadOptions::default() };
        Engine::load(gpu(4), &folder, &options, &mut |_| ControlFlow::Continue(())).expect("it loads")
    };
    let requests = requests();
    let voxels = volumes(MODEL);
    let alone = alone(&load(1, 1000), &requests, &voxels);
    let schedules = if std::env::var_os("MED2E3_LONG").is_some() { 50 } else { 3 };
    let mut compared = 0;
    for (batch, unit_steps) in [(4, 1000), (20, 0)] {
        let engine = load(batch, unit_steps);
        compared += (0..schedules).map(|seed| run(&engine, &requests, &voxels, &alone, seed)).sum::<usize>();
        assert_idle(&engine);
    }
    println!("{compared} answers were compared");
    assert!(compared as u64 >= 8 * schedules, "only {compared}");
}
