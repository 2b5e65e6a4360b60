//! Times every op of a stage at the released model's sizes, once per layer kind, and adds the layers up.
//!
//! Usage: `stages [exact|fast|cuda|cuda:N] [encode_3d|encode_2d|prefill|decode]...`. One JSON object per op and per
//! stage on stdout. `wall_ms` and `core_ms` are the best of three: time passed, and time on cores (Linux), which other
//! work on the machine disturbs less. Weights are bf16, random; the layers of a stage share one layer's weights, which
//! exceed the last-level cache in decode.
use benches::inputs::{PagedAttention, activations, floats, ids, weights};
use benches::machine::Machine;
use med2e3_kernels::ops::*;
use med2e3_kernels::{Device, Result, Tensor};
use std::time::Instant;

const RUNS: usize = 3;

/// Seconds that a timing lasts at least.
const SHORTEST: f64 = 0.05;

/// Sums of a stage.
struct Stage<'a> {
    device: &'a dyn Device,
    name: &'static str,
    layers: usize,
    wall: f64,
    core: f64,
    flops: f64,
    /// Reading it waits for all ops that were enqueued before.
    flag: Tensor,
}

impl<'a> Stage<'a> {
    fn new(device: &'a dyn Device, name: &'static str, layers: usize) -> Self {
        Self { device, name, layers, wall: 0.0, core: 0.0, flops: 0.0, flag: ids(device, &[0]) }
    }

    /// Times an op that runs `count` times per layer; `flops` and `bytes` (weights, for products) are of one run.
    fn op(&mut self, op: &str, count: usize, [flops, bytes]: [usize; 2], mut run: impl FnMut() -> Result<()>) {
        let wait = || self.device.read_u32(self.flag.view()).expect("the op ran");
        let start = Instant::now();
        run().expect("valid");
        wait();
        // Time on cores is counted in ticks of the system: short ops run until it means something.
        let inner = (SHORTEST / start.elapsed().as_secs_f64()).clamp(1.0, 1e4) as usize;
        let (mut wall, mut core) = (f64::MAX, f64::MAX);
        for _ in 0..RUNS {
            let (start, before) = (Instant::now(), core_seconds());
            for _ in 0..inner {
                run().expect("valid");
            }
            wait();
            wall = wall.min(start.elapsed().as_secs_f64() / inner as f64);
            core = core.min((core_seconds() - before) / inner as f64);
        }
        let times = (count * self.layers) as f64;
        self.wall += times * wall;
        self.core += times * core;
        self.flops += times * flops as f64;
        println!(
            "{{\"stage\":\"{}\",\"op\":\"{op}\",\"times\":{times},\"wall_ms\":{:.3},\"core_ms\":{:.3},\
             \"gflops_per_core\":{},\"gb_per_s\":{:.1}}}",
            self.name,
            wall * 1e3,
            core * 1e3,
            per_core(flops as f64, core),
            bytes as f64 / wall / 1e9
        );
    }

    fn linear(&mut self, name: &str, count: usize, x: &Tensor, inner: usize, columns: usize, epilogue: Epilogue) {
        let device = self.device;
        let rows = x.dims().count() / inner;
        let gated = epilogue == Epilogue::SwiGlu;
        let weight = weights(device, &[columns << usize::from(gated), inner]);
        let bias = (!gated).then(|| weights(device, &[columns]));
        let mut out = activations(device, &[rows, columns]);
        let elements = weight.dims().count();
        self.op(name, count, [2 * rows * elements, 2 * elements], || {
            let (x, bias) = (x.view().reshape(&[rows, inner]), bias.as_ref().map(Tensor::view));
            device.linear(Linear { x, weight: weight.view(), bias, epilogue, out: out.view_mut() })
        });
    }

    fn layer_norm(&mut self, rows: usize, dim: usize) {
        let device = self.device;
        let (x, mut out) = (activations(device, &[rows, dim]), activations(device, &[rows, dim]));
        let (weight, bias) = (weights(device, &[dim]), weights(device, &[dim]));
        self.op("layer_norm", 2, [8 * rows * dim, 8 * rows * dim], || {
            let (weight, bias) = (weight.view(), bias.view());
            device.layer_norm(LayerNorm { x: x.view(), weight, bias, eps: 1e-6, out: out.view_mut() })
        });
    }

    fn attention(&mut self, sequences: usize, tokens: usize, heads: usize, head_dim: usize) {
        let (device, hidden) = (self.device, heads * head_dim);
        let [q, k, v, mut out] = [0; 4].map(|_| activations(device, &[sequences * tokens, hidden]));
        let flops = 4 * sequences * tokens * tokens * hidden;
        self.op("attention_full", 1, [flops, 0], || {
            let (q, k, v) = (q.view(), k.view(), v.view());
            device.attention_full(AttentionFull { q, k, v, sequences, heads, scale: 0.125, out: out.view_mut() })
        });
    }

    fn end(self) {
        println!(
            r#"{{"stage":"{}","total":true,"wall_ms":{:.1},"core_ms":{:.1},"tflop":{:.3},"gflops_per_core":{}}}"#,
            self.name,
            self.wall * 1e3,
            self.core * 1e3,
            self.flops / 1e12,
            per_core(self.flops, self.core)
        );
    }
}

/// Billions per second on one core; JSON's null where the time is unknown.
fn per_core(flops: f64, core: f64) -> String {
    if core > 0.0 { format!("{:.1}", flops / core / 1e9) } else { "null".into() }
}

/// Seconds that this process's threads ran on cores; 0 where the system does not say.
fn core_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0.0 };
    let run = |path: std::path::PathBuf| -> Option<f64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(|task| run(task.ok()?.path())).sum::<f64>() / 1e9
}

fn encode_3d(device: &dyn Device) {
    let mut stage = Stage::new(device, "encode_3d", 12);
    let (narrow, wide) = (activations(device, &[2049, 768]), activations(device, &[2049, 3072]));
    stage.layer_norm(2049, 768);
    stage.linear("qkv", 1, &narrow, 768, 2304, Epilogue::None);
    stage.attention(1, 2049, 12, 64);
    stage.linear("out", 1, &narrow, 768, 768, Epilogue::Residual);
    stage.linear("fc1", 1, &narrow, 768, 3072, Epilogue::GeluErf);
    stage.linear("fc2", 1, &wide, 3072, 768, Epilogue::Residual);
    stage.end();
}

fn encode_2d(device: &dyn Device) {
    let mut stage = Stage::new(device, "encode_2d", 24);
    let x = activations(device, &[8192, 1024]);
    stage.layer_norm(8192, 1024);
    stage.linear("qkv", 3, &x, 1024, 1024, Epilogue::None);
    stage.attention(32, 256, 16, 64);
    stage.linear("out", 1, &x, 1024, 1024, Epilogue::Residual);
    stage.linear("fc1", 1, &x, 1024, 4096, Epilogue::GeluTanh);
    stage.linear("fc2", 1, &activations(device, &[8192, 4096]), 4096, 1024, Epilogue::Residual);
    stage.end();
    let mut stage = Stage::new(device, "connector_2d", 1);
    stage.linear("first", 1, &x, 1024, 3072, Epilogue::GeluErf);
    stage.linear("second", 1, &activations(device, &[8192, 3072]), 3072, 3072, Epilogue::None);
    stage.end();
}

/// Phi-3's layers over `rows` new tokens that end at `context`, and the logits of the last.
fn language_model(device: &dyn Device, name: &'static str, rows: usize, context: usize) {
    let mut stage = Stage::new(device, name, 32);
    let (heads, head_dim, pages) = (32, 96, context.div_ceil(64));
    let x = activations(device, &[rows, 3072]);
    let (weight, mut normed) = (weights(device, &[3072]), activations(device, &[rows, 3072]));
    stage.op("rms_norm", 2, [4 * rows * 3072, 8 * rows * 3072], || {
        device.rms_norm(RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: normed.view_mut() })
    });
    stage.linear("qkv", 1, &x, 3072, 9216, Epilogue::None);
    let (qkv, angles) = (activations(device, &[rows, 9216]), floats(device, &[context, 48]));
    let positions = ids(device, &((context - rows) as u32..context as u32).collect::<Vec<u32>>());
    let table = ids(device, &(0..pages as u32).rev().collect::<Vec<u32>>());
    let [mut k, mut v] = [0; 2].map(|_| activations(device, &[pages * heads, 64, head_dim]));
    let mut q = activations(device, &[rows, 3072]);
    stage.op("qkv_rope_append", 1, [6 * rows * 6144, 8 * rows * 9216], || {
        device.qkv_rope_append(QkvRopeAppend {
            qkv: qkv.view(),
            cos: angles.view(),
            sin: angles.view(),
            positions: positions.view(),
            block_table: table.view(),
            heads,
            kv_heads: heads,
            q: q.view_mut(),
            k_pages: k.view_mut(),
            v_pages: v.view_mut(),
        })
    });
    let mut attention = PagedAttention::new(device, rows, context);
    stage.op("attention_paged", 1, [attention.flops, 8 * context * 3072], || attention.run(device));
    stage.linear("out", 1, &x, 3072, 3072, Epilogue::Residual);
    stage.linear("gate_up", 1, &x, 3072, 8192, Epilogue::SwiGlu);
    stage.linear("down", 1, &activations(device, &[rows, 8192]), 8192, 3072, Epilogue::Residual);
    stage.layers = 1;
    stage.linear("lm_head", 1, &activations(device, &[1, 3072]), 3072, 32064, Epilogue::None);
    stage.end();
}

fn main() {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let opened = Machine::of(&mut words).and_then(|machine| machine.open().map(|device| (machine, device)));
    let (machine, device) = opened.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        std::process::exit(4);
    });
    let device = &*device;
    println!("{}", machine.describe(device));
    let has = |word: &str| words.iter().any(|w| w == word);
    type Run = fn(&dyn Device);
    let stages: [(&str, Run); 4] = [
        ("encode_3d", encode_3d),
        ("encode_2d", encode_2d),
        ("prefill", |device| language_model(device, "prefill", 576, 576)),
        ("decode", |device| language_model(device, "decode", 1, 680)),
    ];
    let all = !stages.iter().any(|stage| has(stage.0));
    for (name, run) in stages {
        if all || has(name) {
            run(device);
        }
    }
    if machine.gpu().is_some() {
        println!("{}", machine.describe(device));
    }
}
