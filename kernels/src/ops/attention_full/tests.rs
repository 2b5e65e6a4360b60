//! Tests of `attention_full`.
use super::{AttentionFull, cpu, reference};
use crate::cpu::fast::{self, Way};
use crate::cpu::lanes::Isa;
use crate::testing::*;
use crate::{Device, Tensor};
use half::bf16;

/// What an output may differ from f64 by.
///
/// A score's dot product of d terms makes at most d roundings of partial sums, which Σ|q·k|·scale bounds; with no
/// common sign, four times the root of their number covers them, and scaling and subtracting the maximum add two.
/// Two scores, and the argument of the exponential once more, enter a weight. The weighted sum adds at most 256
/// values in a row, then tiles, then a few roundings of exponential, sum and quotient.
pub(crate) fn bound<'a>(query: &[f32], keys: impl Iterator<Item = &'a [f32]>, scale: f32, largest: f32) -> f64 {
    let size = |key: &[f32]| query.iter().zip(key).map(|(q, k)| f64::from((q * k).abs())).sum::<f64>();
    let mut score = 0f64;
    let mut tokens = 0;
    for key in keys {
        score = score.max(size(key) * f64::from(scale).abs());
        tokens += 1;
    }
    let unit = 2f64.powi(-24);
    let score = (4.0 * (query.len() as f64).sqrt() + 2.0) * unit * score;
    f64::from(largest) * (4.0 * score + (4.0 * 16.0 + tokens as f64 / 256.0 + 12.0) * unit)
}

struct Sizes {
    sequences: usize,
    tokens: usize,
    heads: usize,
    head_dim: usize,
}

impl Sizes {
    fn rows(&self) -> usize {
        self.sequences * self.tokens
    }
    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }
}

fn run(sizes: &Sizes, qkv: &Tensor, scale: f32, isa: Isa, way: Option<Way>) -> Vec<f32> {
    let hidden = sizes.hidden();
    let mut out = poisoned(&[sizes.rows(), hidden]);
    let part = |i: usize| qkv.view().cols(i * hidden..(i + 1) * hidden);
    let sequences = sizes.sequences;
    let heads = sizes.heads;
    let op = AttentionFull { q: part(0), k: part(1), v: part(2), sequences, heads, scale, out: out.view_mut() };
    cpu::run_on(op, isa, way).expect("valid");
    values(&out)
}

fn check(sizes: &Sizes, seed: u32, size: f32, scale: f32) {
    let qkv = numbers(seed, sizes.rows() * 3 * sizes.hidden(), size);
    check_ways(sizes, &qkv, size, scale, &[None]);
}

fn check_ways(sizes: &Sizes, qkv: &[f32], size: f32, scale: f32, ways: &[Option<Way>]) {
    let hidden = sizes.hidden();
    let head_dim = sizes.head_dim;
    let tensor = tensor(&[sizes.rows(), 3 * hidden], qkv);
    let what = format!("{} x {} tokens, {} x {head_dim}", sizes.sequences, sizes.tokens, sizes.heads);
    let mut want = Vec::new();
    let mut bounds = Vec::new();
    for (row, head) in (0..sizes.rows()).flat_map(|row| (0..sizes.heads).map(move |head| (row, head))) {
        let at = |row: usize, part: usize| &qkv[(row * 3 + part) * hidden + head * head_dim..][..head_dim];
        let first = row / sizes.tokens * sizes.tokens;
        let keys = || (first..first + sizes.tokens).map(|token| at(token, 1));
        let values = (first..first + sizes.tokens).map(|token| at(token, 2));
        want.extend(reference::attend(at(row, 0), keys(), values, f64::from(scale)));
        bounds.extend(std::iter::repeat_n(bound(at(row, 0), keys(), scale, size), head_dim));
    }
    for (&way, isa) in ways.iter().flat_map(|way| Isa::all().into_iter().map(move |isa| (way, isa))) {
        let got = run(sizes, &tensor, scale, isa, way);
        let rounding = if way.is_some() { f64::from(size) * 2f64.powi(-8) } else { 0.0 };
        assert_within(&format!("{what} {isa:?} {way:?}"), &got, &want, |i| bounds[i] + rounding);
        assert_eq!(got, run(sizes, &tensor, scale, isa, way), "{what} {isa:?} {way:?}: repeats");
    }
}

#[test]
fn worked_by_hand() {
    // Scores ln 3 and 0: weights 3/4 and 1/4. The second query is orthogonal to both keys: halves.
    let q = tensor(&[2, 2], &[1.0, 0.0, 0.0, 1.0]);
    let k = tensor(&[2, 2], &[3f32.ln() * 2.0, 0.0, 0.0, 0.0]);
    let v = tensor(&[2, 2], &[4.0, 8.0, 0.0, -8.0]);
    let mut out = poisoned(&[2, 2]);
    let q = q.view();
    let k = k.view();
    let v = v.view();
    CPU.attention_full(AttentionFull { q, k, v, sequences: 1, heads: 1, scale: 0.5, out: out.view_mut() })
        .expect("valid");
    assert_close("out", &values(&out), &[3.0, 4.0, 2.0, 0.0], 1e-6);
}

/// Edges of register tiles, strips (48 queries), tasks and packed tiles (256 tokens); odd and model-like heads.
#[test]
fn agrees_with_f64() {
    for (seed, (sequences, tokens, heads, head_dim)) in (20..).zip([
        (1, 1, 1, 1),
        (3, 1, 2, 8),
        (1, 5, 3, 7),
        (2, 17, 2, 32),
        (1, 47, 1, 64),
        (2, 49, 1, 40),
        (1, 256, 2, 64),
        (1, 257, 1, 96),
        (1, 263, 1, 20),
        (1, 530, 1, 64),
        (2, 256, 3, 72),
    ]) {
        check(&Sizes { sequences, tokens, heads, head_dim }, seed, 1.5, 1.0 / (head_dim as f32).sqrt());
    }
}

/// Rounding weights to bf16 moves each by at most 2^-9 of itself, so the result by at most 2^-8 of the largest value;
/// inputs are bf16 numbers already, and the scale is a power of two. Edges of blocks (32) and tiles (256 tokens).
#[test]
fn agrees_with_f64_in_bf16() {
    for (seed, (sequences, tokens, heads, head_dim)) in
        (70..).zip([(2, 32, 2, 32), (1, 33, 1, 64), (1, 95, 1, 96), (3, 256, 2, 64), (1, 289, 1, 128), (1, 550, 1, 32)])
    {
        let sizes = Sizes { sequences, tokens, heads, head_dim };
        assert!(fast::attend::suits(tokens, head_dim));
        for (size, scale) in [(1.5, 0.125), (20.0, 1.0), (1.0, -0.5), (1.0, 0.0)] {
            let qkv = numbers(seed, sizes.rows() * 3 * sizes.hidden(), size);
            let qkv: Vec<f32> = qkv.into_iter().map(|v| bf16::from_f32(v).to_f32()).collect();
            check_ways(&sizes, &qkv, size, scale, &fast::ways());
        }
    }
}

/// Flat and sharp softmax, over two packed tiles so that sums are brought to a new maximum.
#[test]
fn regimes() {
    let sizes = Sizes { sequences: 1, tokens: 300, heads: 1, head_dim: 16 };
    for (seed, size, scale) in [(40, 1.0, 0.0), (41, 1e-3, 1.0), (42, 20.0, 1.0), (43, 1.0, -0.5)] {
        check(&sizes, seed, size, scale);
    }
}

/// One score above all others by more than f32's exponent range: that token's value, bit for bit.
#[test]
fn saturates() {
    let tokens = 600;
    let winner = 511;
    let mut k = vec![-1f32; tokens];
    k[winner] = 1.0;
    let v = numbers(50, tokens, 1.0);
    let q = tensor(&[tokens, 1], &vec![500.0; tokens]);
    let k = tensor(&[tokens, 1], &k);
    let v_tensor = tensor(&[tokens, 1], &v);
    let mut out = poisoned(&[tokens, 1]);
    let q = q.view();
    let k = k.view();
    let v_view = v_tensor.view();
    CPU.attention_full(AttentionFull { q, k, v: v_view, sequences: 1, heads: 1, scale: 1.0, out: out.view_mut() })
        .expect("valid");
    assert!(values(&out).iter().all(|&got| got == v[winner]));
}

/// NaN in one sequence or one head stays there.
#[test]
fn sequences_and_heads_are_apart() {
    let sizes = Sizes { sequences: 3, tokens: 20, heads: 2, head_dim: 24 };
    let rows = sizes.rows();
    let hidden = sizes.hidden();
    let mut qkv = numbers(60, rows * 3 * hidden, 1.0);
    let clean = run(&sizes, &tensor(&[rows, 3 * hidden], &qkv), 0.2, Isa::best(), None);
    for row in 20..40 {
        for part in 0..3 {
            qkv[(row * 3 + part) * hidden + 24..][..24].fill(f32::NAN);
        }
    }
    let got = run(&sizes, &tensor(&[rows, 3 * hidden], &qkv), 0.2, Isa::best(), None);
    for (i, (got, clean)) in got.iter().zip(&clean).enumerate() {
        let poisoned = (20..40).contains(&(i / hidden)) && i % hidden >= 24;
        assert!(if poisoned { got.is_nan() } else { got == clean }, "element {i}");
    }
}

/// One thread or several: the same bits, also where queries are shared out differently.
#[test]
fn threads_do_not_matter() {
    let sizes = Sizes { sequences: 1, tokens: 400, heads: 1, head_dim: 32 };
    let qkv = tensor(&[400, 96], &numbers(61, 400 * 96, 2.0));
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| run(&sizes, &qkv, 0.2, Isa::best(), None))
    };
    assert_eq!(with(1), with(7));
}

#[test]
fn contract_errors() {
    let refused = |k: &[usize], v: &[usize], out: &[usize], sequences, heads, text: &str| {
        let q = poisoned(&[6, 4]);
        let mut out = poisoned(out);
        let k = poisoned(k);
        let v = poisoned(v);
        let q = q.view();
        let k = k.view();
        let v = v.view();
        let out = out.view_mut();
        assert_refused(CPU.attention_full(AttentionFull { q, k, v, sequences, heads, scale: 1.0, out }), text);
    };
    refused(&[5, 4], &[6, 4], &[6, 4], 1, 1, "attention_full: k.rows is 5, but q.rows is 6");
    refused(&[6, 4], &[6, 3], &[6, 4], 1, 1, "attention_full: v.hidden is 3, but q.hidden is 4");
    refused(&[6, 4], &[6, 4], &[6, 5], 1, 1, "attention_full: out.hidden is 5, but q.hidden is 4");
    refused(&[6, 4], &[6, 4], &[6, 4], 4, 1, "attention_full: 6 rows do not divide into 4 sequences");
    refused(&[6, 4], &[6, 4], &[6, 4], 0, 1, "attention_full: 6 rows do not divide into 0 sequences");
    refused(&[6, 4], &[6, 4], &[6, 4], 1, 3, "attention_full: 4 columns do not divide into 3 heads");
    refused(&[24], &[6, 4], &[6, 4], 1, 1, r#"attention_full: k has dims [24], wanted ["rows", "hidden"]"#);
}

/// What Miri can run, streamed and packed; and the smallest blocks of bf16.
#[test]
fn small_sizes() {
    check(&Sizes { sequences: 2, tokens: 1, heads: 1, head_dim: 3 }, 70, 1.0, 0.5);
    check(&Sizes { sequences: 1, tokens: 5, heads: 2, head_dim: 9 }, 71, 1.0, 0.5);
    // A block of 32 × 32 sums takes Miri a minute.
    if cfg!(miri) {
        return;
    }
    let sizes = Sizes { sequences: 1, tokens: 32, heads: 1, head_dim: 32 };
    let qkv: Vec<f32> = numbers(72, 32 * 96, 1.0).iter().map(|&v| bf16::from_f32(v).to_f32()).collect();
    check_ways(&sizes, &qkv, 1.0, 0.25, &[Some(Way::Twin)]);
}
