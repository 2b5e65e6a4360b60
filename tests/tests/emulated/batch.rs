//! Several questions at a time get the answers that they get alone, on the CPU and on the emulated GPU.
use engine_tests::golden::{self, Case, Goldens};
use engine_tests::together;
use med2e3::{Answer, Engine, Event, FinishReason, LoadOptions, Request, Volume};
use med2e3_kernels::ops::Sampling;
use med2e3_kernels::{Cpu, Device, Precision};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::gpu;

const MODEL: &str = "b_score15";

fn open() -> (Goldens, Case) {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == MODEL).expect("listed");
    (goldens, case)
}

fn load(batch: usize, device: Arc<dyn Device>) -> Engine {
    let (goldens, case) = open();
    golden::load_for(batch, device, goldens.model_folder(MODEL).path(), &case)
}

/// The model's volume and, as another, its mirror image.
fn encode(engine: &Engine) -> [Volume; 2] {
    let volume = open().0.volume(MODEL);
    let mirrored: Vec<f32> = volume.iter().rev().copied().collect();
    [volume, mirrored].map(|voxels| engine.encode(voxels).expect("the volume fits"))
}

/// Greedy, drawn, ranked and given tokens, of different lengths, one of them none; more than are answered at a time.
fn requests() -> Vec<Request> {
    let drawn = Sampling { temperature: 0.9, top_k: 0, top_p: 0.95, seed: 5 };
    let long = "Describe what you see in this scan, from the first slice to the last, as a radiologist would.";
    let of = |prompt: &str, max: usize| Request { max_new_tokens: Some(max), ..Request::new(prompt) };
    vec![
        of("Which plane is shown?", 9),
        of(long, 14),
        Request { sampling: drawn, ..of("Is there a nodule?", 7) },
        of("Which plane is shown?", 0),
        Request { logprobs: 3, ..of("Where is it?", 5) },
        Request { forced: Some(vec![5, 9, 5, 7]), logprobs: 2, ..of("What organ is it?", 40) },
        of("Is there a nodule?", 1),
        of("Where is it?", 11),
    ]
}

/// Whether two answers are the same but for the time that they took.
fn assert_same(what: &str, got: &Answer, want: &Answer) {
    assert_eq!(got.token_ids, want.token_ids, "{what}");
    assert_eq!((&got.text, got.finish_reason), (&want.text, want.finish_reason), "{what}");
    assert_eq!(got.slice_scores, want.slice_scores, "{what}");
    assert_eq!(got.top_logprobs, want.top_logprobs, "{what}");
    assert_eq!((got.prompt_tokens, &got.prompt_ids), (want.prompt_tokens, &want.prompt_ids), "{what}");
}

fn check(name: &str, device: fn() -> Arc<dyn Device>) {
    let requests = requests();
    let single = load(1, device());
    let volumes = encode(&single);
    let alone: Vec<Answer> = requests
        .iter()
        .enumerate()
        .map(|(at, request)| single.ask(&volumes[at % 2], request.clone()).expect("it fits"))
        .collect();
    assert_ne!(alone[0].token_ids, alone[7].token_ids, "{name}: questions that can be told apart");
    for batch in [2, 3, 8] {
        let engine = load(batch, device());
        let volumes = encode(&engine);
        let questions: Vec<_> = requests.iter().enumerate().map(|(at, request)| (&volumes[at % 2], request)).collect();
        // Twice, so that a device that records steps replays them.
        for round in 0..2 {
            let answers = together(&engine, &questions);
            assert_eq!(answers.len(), alone.len());
            for (at, (got, want)) in answers.iter().zip(&alone).enumerate() {
                let what = format!("{name}, {batch} at a time, round {round}, question {at}");
                assert_same(&what, got.as_ref().expect("it fits"), want);
            }
        }
    }
}

#[test]
fn together_as_alone_on_the_cpu() {
    check("exact", || Arc::new(Cpu { precision: Precision::Exact }));
    check("fast", || Arc::new(Cpu { precision: Precision::Fast }));
}

#[test]
fn together_as_alone_on_the_gpu() {
    check("gpu", || gpu(2));
}

/// Who breaks off ends one answer; the others go on, and the next question takes its place.
#[test]
fn breaking_off_ends_one_answer() {
    let engine = load(2, gpu(2));
    let volumes = encode(&engine);
    let requests = [6, 8, 5].map(|max| Request { max_new_tokens: Some(max), ..Request::new("Is there a nodule?") });
    let asked = engine.submit_all(requests.iter().map(|request| (&volumes[0], request.clone())));
    let finish = |(at, answering): (usize, med2e3::Result<med2e3::Answering>)| {
        let mut seen = 0;
        let on_event = &mut |event: &Event| {
            seen += usize::from(matches!(event, Event::Token { .. }));
            if at == 0 && seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        answering.expect("it fits").finish_with(on_event).expect("it fits")
    };
    let answers: Vec<Answer> = asked.into_iter().enumerate().map(finish).collect();
    let reasons = answers.iter().map(|answer| answer.finish_reason).collect::<Vec<_>>();
    assert_eq!(reasons, [FinishReason::Cancelled, FinishReason::Length, FinishReason::Length]);
    assert_eq!(answers.iter().map(|answer| answer.token_ids.len()).collect::<Vec<_>>(), [3, 8, 5]);
    assert_eq!(answers[0].token_ids, answers[1].token_ids[..3]);
    assert_eq!(answers[2].token_ids, answers[1].token_ids[..5]);
}

#[test]
fn impossible_batches_are_refused() {
    let (goldens, _) = open();
    let model = goldens.model_folder(MODEL);
    let folder = med2e3_loaders::ModelFolder::open(model.path()).expect("a model");
    for batch in [0, 257] {
        let options = LoadOptions { batch, ..LoadOptions::default() };
        let refused = Engine::load(gpu(2), &folder, &options, &mut |_| ControlFlow::Continue(()))
            .err()
            .expect("refused")
            .to_string();
        assert_eq!(refused, format!("{batch} questions at a time, 1 to 256 are possible"));
    }
}
