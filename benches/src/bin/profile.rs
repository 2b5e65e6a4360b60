//! Times every op that the engine calls for one volume and one question, and adds them up by stage.
//!
//! Usage: `profile MODEL [exact|fast|cuda|cuda:N|emulated]`, where MODEL is a checkpoint folder, for example one that
//! `engine-cli make-model --preset released` wrote. One JSON object on a line: the machine, then for each stage its
//! ops, and its total, from the fastest of three runs. `decode` is one token; ops are timed one by one, so what a CUDA
//! graph saves is not in it.
use benches::machine::Machine;
use med2e3::{Engine, LoadOptions, ModelFolder, Request};
use med2e3_kernels::Profile;
use med2e3_kernels::profile::Call;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

const RUNS: usize = 3;
const NEW_TOKENS: usize = 9;

/// The calls of one run, by stage; `tokens` decoding steps after the first token.
struct Run {
    stages: [(&'static str, Vec<Call>); 5],
    tokens: usize,
}

impl Run {
    fn new(encode: Vec<Call>, ask: Vec<Call>, tokens: usize) -> Self {
        let first = |calls: &[Call], ops: &[&str]| calls.iter().position(|call| ops.contains(&call.op));
        let flat = first(&encode, &["patch_embed_2d"]).unwrap_or(encode.len());
        let prompt = first(&ask, &["embed_tokens"]).unwrap_or(ask.len());
        let chosen = first(&ask[prompt..], &["rms_linear_argmax", "sample"]).map_or(ask.len(), |at| prompt + at + 1);
        let stages = [
            ("encode_3d", encode[..flat].to_vec()),
            ("encode_2d", encode[flat..].to_vec()),
            ("slice_scores", ask[..prompt].to_vec()),
            ("prefill", ask[prompt..chosen].to_vec()),
            ("decode", ask[chosen..].to_vec()),
        ];
        Self { stages, tokens: tokens.saturating_sub(1) }
    }

    /// How often a stage's calls were repeated.
    fn repeats(&self, stage: &str) -> f64 {
        if stage == "decode" { self.tokens.max(1) as f64 } else { 1.0 }
    }
}

fn seconds(calls: &[Call]) -> f64 {
    calls.iter().map(|call| call.time.as_secs_f64()).sum()
}

/// A line about some calls, of which `repeats` rounds were made.
fn line(calls: &[Call], repeats: f64) -> Value {
    let time = seconds(calls);
    let sum = |of: fn(&Call) -> usize| calls.iter().map(of).sum::<usize>() as f64;
    let rounded = |value: f64| (value * 1e3).round() / 1e3;
    json!({
        "calls": calls.len() as f64 / repeats,
        "ms": rounded(time / repeats * 1e3),
        "gb_per_s": rounded(sum(|call| call.work.bytes) / time / 1e9),
        "gflops": rounded(sum(|call| call.work.flops) / time / 1e9),
    })
}

/// Noise within 0..1.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| next()).collect()
}

fn print(runs: &[Run]) {
    for index in 0..runs[0].stages.len() {
        let time = |run: &&Run| seconds(&run.stages[index].1) / run.repeats(run.stages[index].0);
        let Some(best) = runs.iter().min_by(|a, b| time(a).total_cmp(&time(b))) else { continue };
        let (stage, calls) = &best.stages[index];
        let repeats = best.repeats(stage);
        let mut by_op: BTreeMap<&str, Vec<Call>> = BTreeMap::new();
        calls.iter().for_each(|call| by_op.entry(call.op).or_default().push(*call));
        for (op, calls) in &by_op {
            let mut shown = line(calls, repeats);
            shown["stage"] = json!(stage);
            shown["op"] = json!(op);
            println!("{shown}");
        }
        let mut total = line(calls, repeats);
        total["stage"] = json!(stage);
        total["total"] = json!(true);
        println!("{total}");
    }
}

fn run(mut words: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
    let machine = Machine::of(&mut words)?;
    let [model] = words.as_slice() else {
        return Err("wanted one model folder; engine-cli make-model writes one".into());
    };
    let profile = Arc::new(Profile::new(machine.open()?.into()));
    let folder = ModelFolder::open(model.as_ref())?;
    let engine = Engine::load(profile.clone(), &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    println!("{}", machine.describe(engine.device()));
    let mut voxels = noise(engine.img_size().iter().product());
    let request = Request {
        max_new_tokens: Some(NEW_TOKENS),
        ..Request::new("Describe the findings of this scan and say which organ is abnormal.")
    };
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        profile.take();
        // Another volume each time: one that is known would not be encoded.
        voxels.rotate_left(1);
        let volume = engine.encode(voxels.as_slice())?;
        volume.wait()?;
        let encode = profile.take();
        let answer = engine.ask(&volume, request.clone())?;
        runs.push(Run::new(encode, profile.take(), answer.token_ids.len()));
    }
    print(&runs);
    if machine.gpu().is_some() {
        println!("{}", machine.describe(engine.device()));
    }
    Ok(())
}

fn main() {
    if let Err(error) = run(std::env::args().skip(1).collect()) {
        eprintln!("error: {error}");
        let kind = error.downcast_ref::<med2e3_kernels::Error>();
        std::process::exit(if matches!(kind, Some(med2e3_kernels::Error::Unavailable { .. })) { 4 } else { 1 });
    }
}
