//! Random calls of every op through the public API alone: whatever the shapes, strides, element types, page tables,
//! positions and ids, a device gives an error or the right result. It never panics, never writes outside of its tensors
//! and gives the memory checker nothing to report.
//!
//! `MED2E3_LONG=1` runs 25 times as many cases; `MED2E3_SEED=N` runs case N alone.
#![forbid(unsafe_code)]
use draw::Draw;
use med2e3_kernels::{Cpu, Device, Emulation, Error, Gpu, Plan, Precision, Shadow};
use parts::{Call, Outcome};
use std::sync::Arc;

mod draw;
mod language;
mod numbers;
mod parts;
mod products;
mod vision;

/// An op's name, and what makes a call of it.
type Op = (&'static str, fn(&mut Draw) -> Call);

/// Every op that there is.
const OPS: &[Op] = &[
    ("advance", language::advance),
    ("attention_full", vision::attention_full),
    ("attention_paged", language::attention_paged),
    ("avg_pool", vision::avg_pool),
    ("copy", numbers::copy),
    ("embed_bert", language::embed_bert),
    ("embed_tokens", language::embed_tokens),
    ("layer_norm", numbers::layer_norm),
    ("linear", products::linear),
    ("log_probs", language::log_probs),
    ("patch_embed_2d", vision::patch_embed_2d),
    ("patch_embed_3d", vision::patch_embed_3d),
    ("preprocess_volume", vision::preprocess_volume),
    ("qkv_rope_append", language::qkv_rope_append),
    ("rms_linear", products::rms_linear),
    ("rms_linear_argmax", products::rms_linear_argmax),
    ("rms_norm", numbers::rms_norm),
    ("rms_qkv_rope_append", language::rms_qkv_rope_append),
    ("sample", language::sample),
    ("slice_combine", numbers::slice_combine),
    ("slice_keys", numbers::slice_keys),
    ("slice_max", numbers::slice_max),
    ("tgis_scores", numbers::tgis_scores),
];

/// The emulated GPU's memory, in bytes: more than any case's tensors that are no mistake.
const GPU_BYTES: usize = 64 << 20;

/// Prints the case that failed.
struct Failing {
    op: &'static str,
    seed: u64,
}

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MED2E3_SEED={} repeats the call of {} that failed", self.seed, self.op);
        }
    }
}

fn emulated(seed: u64, checked: bool) -> Gpu {
    Gpu::emulated_with_memory(Emulation { seed, checked }, GPU_BYTES)
}

/// The call of `seed` on every device.
fn case(seed: u64) -> [bool; 2] {
    let (op, make) = OPS[(seed % OPS.len() as u64) as usize];
    let _failing = Failing { op, seed };
    let run = |device: &dyn Device| make(&mut Draw::new(seed)).run(device);
    let want = run(&Cpu { precision: Precision::Exact });
    let got = run(&emulated(seed, false));
    let checked = run(&emulated(seed / 2, true));
    for outcome in [&want, &got, &checked] {
        let text = outcome.error().map(ToString::to_string).unwrap_or_default();
        let refused = matches!(outcome.error(), None | Some(Error::Contract { .. } | Error::Memory { .. }));
        assert!(refused, "{op}: {text}");
        assert!(outcome.is_untouched() || outcome.error().is_none(), "{op} wrote although it refused: {text}");
    }
    got.assert_same(&checked, op);
    // Logits that nearly tie may change places; the shadow below compares the chosen ones.
    if op != "rms_linear_argmax" {
        got.assert_close(&want, op);
    }
    for outcome in [run(&Plan::gpu()), run(&Plan::cpu()), run(&Shadow::new(Arc::new(emulated(seed, false))))] {
        let text = outcome.error().map(ToString::to_string).unwrap_or_default();
        // A shadow's bounds are those of a model's tensors, not of a few random numbers that nearly cancel.
        let bad = match outcome.error() {
            Some(Error::Differs { .. }) => text.contains("NaN"),
            Some(error) => matches!(error, Error::Launch { .. } | Error::Unavailable { .. }),
            None => false,
        };
        assert!(!bad, "{op}: {text}");
    }
    [&want, &got].map(|outcome| matches!(outcome, Outcome::Given(_)))
}

#[test]
fn no_call_does_harm() {
    if let Ok(seed) = std::env::var("MED2E3_SEED") {
        let given = case(seed.parse().expect("MED2E3_SEED is a number"));
        return println!("results on the CPU and on the emulated GPU: {given:?}");
    }
    let rounds = if std::env::var_os("MED2E3_LONG").is_some_and(|long| long == "1") { 3000 } else { 120 };
    let seeds = 0..rounds * OPS.len() as u64;
    println!("seeds {seeds:?}");
    let mut given = vec![[0u64; 2]; OPS.len()];
    for seed in seeds {
        let counts = &mut given[(seed % OPS.len() as u64) as usize];
        case(seed).into_iter().zip(counts).for_each(|(given, count)| *count += u64::from(given));
    }
    // A test of nothing but errors would show little.
    for ((op, _), [cpu, gpu]) in OPS.iter().zip(given) {
        println!("{op}: {cpu} of {rounds} calls have a result on the CPU, {gpu} on the emulated GPU");
        assert!(5 * cpu > rounds && 5 * gpu > rounds, "{op}: too few of {rounds} calls are valid: {cpu}, {gpu}");
    }
}

/// The index of ops is what the list above must name.
#[test]
fn every_op_is_called() {
    let index = include_str!("../../src/ops.rs");
    let ops: Vec<&str> = index.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let called: Vec<&str> = OPS.iter().map(|(op, _)| *op).collect();
    assert_eq!(called, ops, "a new op needs calls in tests/random_calls");
}
