//! Tests of `rms_linear_argmax` on the CPU: the token that the logits give.
use super::{RmsLinearArgmax, candidates};
use crate::ops::{Choice, Epilogue, RmsLinear, Sample, Sampling};
use crate::testing::*;
use crate::{DType, Device, NON_FINITE, Tensor};

fn ids(dims: &[usize]) -> Tensor {
    let device: &dyn Device = &CPU;
    let mut tensor = device.tensor(dims, DType::U32).expect("test memory");
    device.write(&mut tensor, &vec![u32::MAX; dims.iter().product()]).expect("sizes agree");
    tensor
}

#[test]
fn chooses_what_the_logits_give() {
    let device: &dyn Device = &CPU;
    for (seed, rows, inner, vocab) in [(1, 1, 8, 1), (2, 3, 20, 33), (3, 16, 24, 100)] {
        let x = tensor(&[rows, inner], &numbers(seed, rows * inner, 3.0));
        let norm = tensor(&[inner], &numbers(seed + 10, inner, 2.0));
        let weight = tensor(&[vocab, inner], &numbers(seed + 20, vocab * inner, 0.5));
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        let eps = 1e-5;
        let mut scratch = ids(&[rows, candidates(vocab)]);
        let mut out = ids(&[rows]);
        let room = scratch.view_mut();
        let chosen = out.view_mut();
        CPU.rms_linear_argmax(RmsLinearArgmax { x, norm, eps, weight, scratch: room, out: chosen }).expect("valid");
        let got = device.read_u32(out.view()).expect("readable");
        let mut logits = poisoned(&[rows, vocab]);
        let op = RmsLinear { x, norm, eps, weight, epilogue: Epilogue::None, out: logits.view_mut() };
        CPU.rms_linear(op).expect("valid");
        for (row, got) in got.into_iter().enumerate() {
            let logits = logits.view().rows(row..row + 1);
            let mut want = ids(&[1]);
            let words = tensor_u32(&Choice { sampling: Sampling::GREEDY, step: 0, given: None }.words());
            let choices = words.view().reshape(&[1, Choice::WORDS]);
            let op = Sample { logits, choices, out: want.view_mut() };
            CPU.sample(op).expect("valid");
            assert_eq!(device.read_u32(want.view()).expect("readable"), [got], "seed {seed}, row {row}");
        }
    }
}

/// One row has a logit that overflows, or an input that is NaN: that row says so, and the others choose as before.
#[test]
fn a_row_with_a_logit_that_is_not_finite_says_so() {
    let device: &dyn Device = &CPU;
    let inner = 4;
    let vocab = 40;
    // All of row 1 is in its first input, which the norm makes 2, and twice 3e38 is infinite. The others have 0 there.
    let rows = [[0.0, 1.0, -2.0, 0.5], [1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 3.0]];
    let choose = |rows: &[[f32; 4]; 3], id: usize, value: f32| {
        let mut weight = numbers(2, vocab * inner, 1.0);
        weight[id * inner] = value;
        let x = tensor(&[3, inner], rows.as_flattened());
        let norm = tensor(&[inner], &[1.0; 4]);
        let weight = tensor(&[vocab, inner], &weight);
        let mut scratch = ids(&[3, candidates(vocab)]);
        let mut out = ids(&[3]);
        let op = RmsLinearArgmax {
            x: x.view(),
            norm: norm.view(),
            eps: 1e-5,
            weight: weight.view(),
            scratch: scratch.view_mut(),
            out: out.view_mut(),
        };
        CPU.rms_linear_argmax(op).expect("valid");
        device.read_u32(out.view()).expect("readable")
    };
    let sound = choose(&rows, 0, 1.0);
    assert!(sound.iter().all(|&id| (id as usize) < vocab), "{sound:?}");
    let want = [sound[0], NON_FINITE, sound[2]];
    for (id, value) in [(0, 3e38), (17, -3e38), (39, 3e38)] {
        assert_eq!(choose(&rows, id, value), want, "{value} at {id}");
    }
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut rows = rows;
        rows[1][2] = value;
        assert_eq!(choose(&rows, 0, 1.0), want, "{value}");
    }
}

#[test]
fn contract_errors() {
    let refused = |x: &[usize], weight: &[usize], scratch: &[usize], out: &[usize], text: &str| {
        let x = poisoned(x);
        let norm = poisoned(&[8]);
        let weight = poisoned(weight);
        let mut scratch = ids(scratch);
        let mut out = ids(out);
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        let scratch = scratch.view_mut();
        let out = out.view_mut();
        assert_refused(CPU.rms_linear_argmax(RmsLinearArgmax { x, norm, eps: 1.0, weight, scratch, out }), text);
    };
    refused(&[2, 7], &[33, 7], &[2, 6], &[2], "rms_linear_argmax: norm.in is 8, but x.in is 7");
    refused(&[2, 8], &[33, 9], &[2, 6], &[2], "rms_linear_argmax: weight.in is 9, but x.in is 8");
    refused(&[2, 8], &[33, 8], &[2, 4], &[2], "rms_linear_argmax: scratch.candidates is 4, but vocab.candidates is 6");
    refused(&[2, 8], &[33, 8], &[2, 6], &[3], "rms_linear_argmax: out.rows is 3, but x.rows is 2");
    refused(&[17, 8], &[33, 8], &[17, 6], &[17], "rms_linear_argmax: x has 17 rows, at most 16 are fused");
    refused(&[2, 8], &[0, 8], &[2, 0], &[2], "rms_linear_argmax: no logits");
    let x = poisoned(&[2, 8]);
    let norm = poisoned(&[8]);
    let weight = poisoned(&[33, 8]);
    let mut scratch = ids(&[2, 6]);
    let x = x.view();
    let norm = norm.view();
    let weight = weight.view();
    let mut floats = poisoned(&[2]);
    let scratch = scratch.view_mut();
    let out = floats.view_mut();
    let op = RmsLinearArgmax { x, norm, eps: 1.0, weight, scratch, out };
    assert_refused(CPU.rms_linear_argmax(op), "rms_linear_argmax: out holds F32, wanted U32");
}
