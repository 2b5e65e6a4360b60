//! The kernel against the CPU.
use super::AttentionFull;
use super::tests::bound;
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{Emulation, Gpu, Tensor};

/// What each column of one query's output may differ by, before its own rounding.
///
/// The kernel rounds each weight to bf16, by at most 2^-8 of it, and not their sum. The errors of one output come to at
/// most Σ w·|v|/256. Where weights differ, their errors are independent and of mean 0: then, by Hoeffding, all but one
/// in 10^12 outputs err by less than 7.5·√Σ(w·v)²/256; where weights are equal, all have the error that the output then
/// has, up to |out|/256. The CPU errs by `bound`; so does the kernel, whose sums are f32 too, but it adds weights one
/// by one, with a rounding for each token.
pub(crate) fn slack(query: &[f32], keys: &[&[f32]], values: &[&[f32]], scale: f32) -> Vec<f64> {
    let largest = values.iter().flat_map(|v| v.iter()).fold(0f32, |most, v| most.max(v.abs()));
    let sums = 2.0 * bound(query, keys.iter().copied(), scale, largest)
        + f64::from(largest) * keys.len() as f64 * 2f64.powi(-24);
    let dot = |key: &[f32]| query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
    let scores: Vec<f64> = keys.iter().map(|key| dot(key) * f64::from(scale)).collect();
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let total: f64 = weights.iter().sum();
    let of_column = |column: usize| {
        let mut most = 0f64;
        let mut squares = 0f64;
        let mut out = 0f64;
        for part in weights.iter().zip(values).map(|(w, v)| w / total * f64::from(v[column])) {
            (most, squares, out) = (most + part.abs(), squares + part * part, out + part);
        }
        most.min(7.5 * squares.sqrt() + out.abs()) / 256.0 + sums
    };
    (0..query.len()).map(of_column).collect()
}

/// Fails unless every element is `want` within half a unit of bf16 and its slack.
pub(crate) fn assert_near(what: &str, got: &[f32], want: &[f32], slack: &[f64]) {
    assert_eq!([got.len(), slack.len()], [want.len(); 2], "{what}: lengths");
    for (i, ((&got, &want), &slack)) in got.iter().zip(want).zip(slack).enumerate() {
        let got = f64::from(got);
        let want = f64::from(want);
        let bound = slack + (want.abs() + slack) / 256.0;
        assert!((got - want).abs() <= bound, "{what}: element {i} is {got}, wanted {want} within {bound:e}");
    }
}

/// A call on one packed tensor, of which `gap` columns between q, k and v are poisoned.
struct Case {
    sequences: usize,
    tokens: usize,
    heads: usize,
    head_dim: usize,
    gap: usize,
    scale: f32,
    qkv: Vec<f32>,
}

impl Case {
    fn new([sequences, tokens, heads, head_dim]: [usize; 4], gap: usize, seed: u32, size: f32, scale: f32) -> Self {
        let rows = sequences * tokens;
        let hidden = heads * head_dim;
        let mut qkv = rounded(&numbers(seed, rows * (3 * hidden + 3 * gap), size));
        for row in qkv.chunks_exact_mut(hidden + gap) {
            row[hidden..].fill(f32::NAN);
        }
        Self { sequences, tokens, heads, head_dim, gap, scale, qkv }
    }

    fn hidden(&self) -> usize {
        self.heads * self.head_dim
    }

    fn width(&self) -> usize {
        self.hidden() + self.gap
    }

    fn run(&self, rig: &Rig<'_>) -> Vec<f32> {
        let rows = self.sequences * self.tokens;
        let hidden = self.hidden();
        let width = self.width();
        let qkv = rig.acts(&[rows, 3 * width], &self.qkv);
        let mut out = rig.poisoned(&[rows, hidden]);
        let part = |i: usize| qkv.view().cols(i * width..i * width + hidden);
        let sequences = self.sequences;
        let heads = self.heads;
        let scale = self.scale;
        let op = AttentionFull { q: part(0), k: part(1), v: part(2), sequences, heads, scale, out: out.view_mut() };
        rig.device.attention_full(op).expect("valid");
        rig.read(&out)
    }

    fn slack(&self) -> Vec<f64> {
        let at = |row: usize, part: usize, head: usize| {
            &self.qkv[(row * 3 + part) * self.width() + head * self.head_dim..][..self.head_dim]
        };
        let of_head = |row: usize, head: usize| {
            let first = row / self.tokens * self.tokens;
            let [keys, values] = [1, 2].map(|p| (0..self.tokens).map(|t| at(first + t, p, head)).collect::<Vec<_>>());
            slack(at(row, 0, head), &keys, &values, self.scale)
        };
        let rows = 0..self.sequences * self.tokens;
        rows.flat_map(|row| (0..self.heads).flat_map(move |head| of_head(row, head))).collect()
    }

    fn check(&self, what: &str) -> Vec<f32> {
        let (got, want) = on_gpu_and_cpu(|rig| self.run(rig));
        assert_near(what, &got, &want, &self.slack());
        got
    }
}

/// Edges of tiles of 16, 64 and 128; every padded head_dim, with and without a tail; rows on 16-byte boundaries and
/// not: by head_dim, by stride, and by where k begins.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (sizes, gap)) in (1..).zip([
        ([1, 1, 1, 64], 0),
        ([3, 1, 2, 1], 0),
        ([2, 15, 2, 8], 8),
        ([1, 63, 2, 24], 0),
        ([2, 64, 1, 32], 16),
        ([1, 65, 2, 20], 0),
        ([1, 127, 1, 40], 4),
        ([1, 128, 1, 64], 0),
        ([1, 129, 1, 64], 1),
        ([1, 193, 1, 72], 0),
        ([2, 66, 1, 96], 8),
        ([1, 70, 1, 90], 0),
        ([1, 65, 1, 128], 0),
        ([1, 64, 1, 125], 3),
    ]) {
        let what = format!("{sizes:?}, gap {gap}");
        Case::new(sizes, gap, seed, 1.5, 1.0 / (sizes[3] as f32).sqrt()).check(&what);
    }
}

/// Uniform, flat and sharp softmax, a negative scale, and scores so large that a weight is 0 or 1.
#[test]
fn regimes() {
    for (seed, size, scale) in [(40, 1.0, 0.0), (41, 0.1, 1.0), (42, 6.0, 1.0), (43, 1.0, -0.5), (44, 1e18, 0.25)] {
        Case::new([1, 150, 1, 16], 0, seed, size, scale).check(&format!("size {size}, scale {scale}"));
    }
}

/// One score above all others by more than f32's exponent range: that token's value, bit for bit, wherever it lies.
#[test]
fn saturates() {
    for winner in [0, 63, 64, 199] {
        let mut case = Case::new([1, 200, 1, 8], 0, 50, 1.0, 1.0);
        for (token, row) in case.qkv.chunks_exact_mut(24).enumerate() {
            row[..8].fill(500.0);
            row[8..16].fill(if token == winner { 1.0 } else { -1.0 });
        }
        let (got, _) = on_gpu_and_cpu(|rig| case.run(rig));
        let value = &case.qkv[winner * 24 + 16..][..8];
        assert!(got.chunks_exact(8).all(|out| out == value), "winner {winner}");
    }
}

/// NaN in one sequence or one head stays there.
#[test]
fn sequences_and_heads_are_apart() {
    let mut case = Case::new([3, 20, 2, 24], 0, 60, 1.0, 0.2);
    let (clean, _) = on_gpu_and_cpu(|rig| case.run(rig));
    for row in case.qkv.chunks_exact_mut(144).skip(20).take(20) {
        row.chunks_exact_mut(48).for_each(|part| part[24..].fill(f32::NAN));
    }
    let (got, _) = on_gpu_and_cpu(|rig| case.run(rig));
    for (i, (got, clean)) in got.iter().zip(&clean).enumerate() {
        let poisoned = (20..40).contains(&(i / 48)) && i % 48 >= 24;
        assert!(if poisoned { got.is_nan() } else { got == clean }, "element {i}");
    }
}

/// The release's number of tokens: at its head_dim, at the widest, and with rows off the 16-byte boundaries.
#[test]
fn many_tokens() {
    for (seed, head_dim, gap) in [(70, 64, 0), (71, 128, 0), (72, 20, 1)] {
        let case = Case::new([1, 2049, 1, head_dim], gap, seed, 1.5, 1.0 / (head_dim as f32).sqrt());
        let (got, want) = once_on_gpu_and_cpu(|rig| case.run(rig));
        assert_near(&format!("2049 tokens, head_dim {head_dim}"), &got, &want, &case.slack());
    }
}

#[test]
fn refuses_wide_heads() {
    let gpu = Gpu::emulated(Emulation::default());
    let rig = Rig { device: &gpu };
    let x: Tensor = rig.acts(&[1, 136], &[0.0; 136]);
    let mut out: Tensor = rig.poisoned(&[1, 136]);
    let q = x.view();
    let k = x.view();
    let v = x.view();
    let op = AttentionFull { q, k, v, sequences: 1, heads: 1, scale: 1.0, out: out.view_mut() };
    crate::testing::assert_refused(
        rig.device.attention_full(op),
        "attention_full: head_dim is 136, at most 128 on a GPU",
    );
}
