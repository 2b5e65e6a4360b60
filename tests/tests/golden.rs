//! Every variant against PyTorch f32, stage by stage, so that a failure names the stage.
//!
//! The goldens and their format are described in `tools/research/golden/README.md`. A stage may differ by 1e-4 of the
//! largest magnitude in it (exact mode's contract; PyTorch's own f32 noise is at most 8e-6 of it), and every
//! greedy token must be the same: no step of a golden answer is closer than 1e-3 to a tie.
use engine_tests::golden::{self, Case, Goldens, Run, Stage};
use med2e3::{Engine, Event, FinishReason, LoadOptions, Request, Trace};
use med2e3_kernels::ops::Sampling;
use med2e3_kernels::{Cpu, Device, Plan, Precision};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The design's bound on a stage, relative to its largest magnitude.
const STAGE_BOUND: f64 = 1e-4;

/// In the order of computation: the first to differ is where to look.
const STAGES: [&str; 14] = [
    "vit_tokens",
    "z_3d",
    "siglip_tokens",
    "z_2d_slices",
    "bert_pooler",
    "z_t",
    "tgis_scores",
    "z_2d",
    "z_i",
    "prompt_embeddings",
    "llm_layer_0",
    "llm_norm",
    "prompt_logits",
    "volume",
];

fn cpu() -> Arc<dyn Device> {
    Arc::new(Cpu { precision: Precision::Exact })
}

fn load(goldens: &Goldens, case: &Case) -> Engine {
    load_from(goldens.model_folder(&case.model).path(), case)
}

fn load_from(model: &Path, case: &Case) -> Engine {
    golden::load(cpu(), model, case)
}

/// Largest difference from the golden, relative to the stage's largest magnitude.
fn stage_error(case: &str, name: &str, stage: &Stage, trace: &Trace) -> f64 {
    let found = trace.tensors.iter().find(|tensor| tensor.name == name);
    let got = &found.unwrap_or_else(|| panic!("{case}: stage {name} was not recorded")).values;
    // Only the last row of the prompt reaches the final norm.
    let skipped = if name == "llm_norm" { stage.count - got.len() } else { 0 };
    assert_eq!(got.len() + skipped, stage.count, "{case}: elements of {name}");
    let compared: Vec<(usize, f32)> = stage.elements().filter(|(at, _)| *at >= skipped).collect();
    assert!(!compared.is_empty() || name == "llm_norm", "{case}: nothing of {name} is compared");
    if skipped == 0 {
        let sum: f64 = got.iter().map(|&v| f64::from(v)).sum();
        let drift = (sum / got.len() as f64 - stage.mean).abs();
        assert!(drift <= STAGE_BOUND * stage.max_abs, "{case}: the mean of {name} is off by {drift}");
    }
    let difference = |(at, want): (usize, f32)| (f64::from(got[at - skipped]) - f64::from(want)).abs();
    compared.into_iter().map(difference).fold(0.0, f64::max) / stage.max_abs
}

fn check(goldens: &Goldens, case: &Case) {
    let Run { answer, trace, streamed } = goldens.run(cpu(), case, None);
    let name = &case.name;
    let facts = goldens.facts(case);
    let stages = goldens.stages(case);
    for stage in STAGES.iter().filter(|stage| stages.contains_key(**stage)) {
        let error = stage_error(name, stage, &stages[*stage], &trace);
        assert!(error <= STAGE_BOUND, "{name}: stage {stage} differs by {error:.2e} of its largest value");
    }
    assert!(stages.keys().all(|stage| STAGES.contains(&stage.as_str())), "{name}: a golden stage is not compared");
    assert_eq!(answer.prompt_ids, facts.prompt_ids, "{name}: prompt ids");
    assert_eq!(answer.prompt_tokens, facts.prompt_rows, "{name}: prompt rows");
    assert_eq!(answer.token_ids, facts.token_ids, "{name}: greedy tokens");
    assert_eq!(answer.text, facts.text, "{name}: text");
    assert_eq!(streamed, facts.text, "{name}: streamed text");
    let reason = if facts.finish_reason == "stop" { FinishReason::Stop } else { FinishReason::Length };
    assert_eq!(answer.finish_reason, reason, "{name}: finish reason");
    assert_eq!(answer.slice_scores.is_some(), stages.contains_key("tgis_scores"), "{name}: slice scores");
    if let Some(scores) = &answer.slice_scores {
        let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{name}: scores sum to {sum}");
    }
    for (step, (got, want)) in answer.top_logprobs.iter().zip(&facts.top_logprobs).enumerate() {
        for (&(_, got), &(_, want)) in got.iter().zip(want) {
            // Stages may differ by 1e-4 of a largest magnitude of about 10.
            assert!((got - want).abs() <= 1e-3, "{name}: log-probability {got} at step {step}, wanted {want}");
        }
        assert_eq!(got[0].0, want[0].0, "{name}: most likely token at step {step}");
    }
}

fn check_base(base: &str) {
    let goldens = Goldens::open();
    let cases: Vec<_> = goldens.cases().into_iter().filter(|case| case.model.starts_with(base)).collect();
    assert!(cases.len() >= 5, "base {base} has {} cases", cases.len());
    cases.iter().for_each(|case| check(&goldens, case));
}

#[test]
fn base_a_f32_torch_zip() {
    check_base("a_");
}

#[test]
fn base_b_bf16_sharded_safetensors_longrope_one_kv_head() {
    check_base("b_");
}

#[test]
fn base_c_f16_safetensors_long_factors() {
    check_base("c_");
}

/// One volume, several questions: the encoded volume is untouched by asking, so order does not matter.
#[test]
fn questions_do_not_disturb_one_another() {
    let goldens = Goldens::open();
    let cases: Vec<_> =
        goldens.cases().into_iter().filter(|c| c.model == "a_score15" && c.tgis == "checkpoint").collect();
    let engine = load(&goldens, &cases[0]);
    let encoded = engine.encode(goldens.volume("a_score15")).expect("the volume fits");
    for case in cases.iter().chain(cases.iter().rev()) {
        let mut request = Request::new(&case.messages[0]);
        request.guide.clone_from(&case.question);
        request.max_new_tokens = case.max_new_tokens;
        let answer = engine.ask(&encoded, request.clone()).expect("it fits");
        assert_eq!(answer.token_ids, goldens.facts(case).token_ids, "{}", case.name);
    }
}

#[test]
fn a_prompt_that_is_too_long_is_refused_with_both_numbers() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "a_score15").expect("listed");
    let engine = load(&goldens, &case);
    let encoded = engine.encode(goldens.volume("a_score15")).expect("the volume fits");
    let request = Request::new("lesion ".repeat(400));
    let error = engine.ask(&encoded, request.clone()).expect_err("too long").to_string();
    assert!(error.contains("the prompt has ") && error.contains("takes at most"), "{error}");
}

#[test]
fn breaking_off_stops_at_once() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "a_score15").expect("listed");
    let engine = load(&goldens, &case);
    let encoded = engine.encode(goldens.volume("a_score15")).expect("the volume fits");
    let mut seen = 0;
    let answering = engine.submit(&encoded, Request::new(&case.messages[0])).expect("it fits");
    let answer = answering.finish_with(&mut |event| {
        seen += usize::from(matches!(event, Event::Token { .. }));
        if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let answer = answer.expect("it fits");
    assert_eq!((answer.token_ids.len(), answer.finish_reason), (3, FinishReason::Cancelled));
}

/// Forcing the tokens of the free answer gives its log-probabilities; another answer is one that was given.
#[test]
fn forced_tokens_are_scored_not_chosen() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "b_score15").expect("listed");
    let free = goldens.run(cpu(), &case, None).answer;
    let forced = |ids: &[u32]| goldens.run(cpu(), &case, Some(ids.to_vec())).answer;
    let again = forced(&free.token_ids[..9]);
    assert_eq!((&again.token_ids[..], &again.top_logprobs[..]), (&free.token_ids[..9], &free.top_logprobs[..9]));
    let other = forced(&[5, 6, 7]);
    assert_eq!((other.token_ids, other.finish_reason), (vec![5, 6, 7], FinishReason::Length));
    assert_eq!(other.top_logprobs[0], free.top_logprobs[0]);
    assert_ne!(other.top_logprobs[1], free.top_logprobs[1]);
}

/// Each volume that stays encoded takes what the plan says of one.
#[test]
fn a_plan_counts_every_volume() {
    let goldens = Goldens::open();
    for model in ["a_score15", "b_spatial", "c_score9"] {
        let folder = goldens.model_folder(model);
        let folder = med2e3_loaders::ModelFolder::open(folder.path()).expect("a model");
        let plan = |volumes| {
            let options = LoadOptions { volumes, ..LoadOptions::default() };
            Engine::plan(Plan::cpu(), &folder, &options).expect("a plan")
        };
        let one = plan(1);
        let three = plan(3);
        assert_eq!(three.total(), one.total() + 2 * one.volume, "{model}");
        assert_eq!((one.volume, one.buffers), (three.volume, three.buffers), "{model}");
    }
}

/// All bytes of a folder's files, to see that nothing changed.
fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files.extend(contents(&entry));
        } else {
            files.push((entry.clone(), std::fs::read(entry).expect("readable")));
        }
    }
    files.sort();
    files
}

/// `.bin` parts, shards and single files all convert to safetensors that give the same tokens and scores, bit for bit.
#[test]
fn a_converted_checkpoint_answers_the_same_and_its_source_is_untouched() {
    let goldens = Goldens::open();
    for model in ["a_score15", "b_score15", "c_score15"] {
        let case = goldens.cases().into_iter().find(|case| case.model == model).expect("listed");
        let source = goldens.model_folder(model);
        let before = contents(source.path());
        let place = tempfile::tempdir().expect("a temporary folder");
        let converted = place.path().join("converted");
        med2e3_loaders::convert(source.path(), &converted, None, &mut |_, _| ())
            .unwrap_or_else(|e| panic!("{model}: {e}"));
        assert_eq!(contents(source.path()), before, "{model}: the source changed");
        let request = Request { max_new_tokens: case.max_new_tokens, ..Request::new(&case.messages[0]) };
        let ask = |folder: &Path| {
            let engine = load_from(folder, &case);
            let encoded = engine.encode(goldens.volume(model)).expect("the volume fits");
            engine.ask(&encoded, request.clone()).expect("it fits")
        };
        let want = ask(source.path());
        let got = ask(&converted);
        assert_eq!(got.token_ids, want.token_ids, "{model}");
        assert_eq!(got.slice_scores, want.slice_scores, "{model}");
        assert_eq!(contents(source.path()), before, "{model}: answering changed the checkpoint");
    }
}

/// Seeded sampling: the same seed gives the same tokens, another seed other ones, and top-k 1 the greedy answer.
#[test]
fn sampling_follows_its_seed() {
    let goldens = Goldens::open();
    let case = goldens.cases().into_iter().find(|case| case.model == "a_score15").expect("listed");
    let engine = load(&goldens, &case);
    let encoded = engine.encode(goldens.volume("a_score15")).expect("the volume fits");
    let ask = |temperature, top_k, seed| {
        let sampling = Sampling { temperature, top_k, top_p: 0.95, seed };
        let request = Request { sampling, max_new_tokens: Some(24), ..Request::new(&case.messages[0]) };
        engine.ask(&encoded, request.clone()).expect("it fits").token_ids
    };
    assert_eq!(ask(1.0, 0, 7), ask(1.0, 0, 7));
    assert_ne!(ask(1.0, 0, 7), ask(1.0, 0, 8));
    assert_eq!(ask(1.0, 1, 7), ask(0.0, 0, 0));
}
