//! Tests of `slice_combine`.
use super::SliceCombine;
use crate::testing::*;
use crate::{Device, Tensor};

fn run(slices: &Tensor, scores: &[f32]) -> Vec<f32> {
    let scores = tensor(&[scores.len()], scores);
    let mut out = poisoned(&slices.dims().as_slice()[1..]);
    let op = SliceCombine { z_2d_slices: slices.view(), scores: scores.view(), out: out.view_mut() };
    CPU.slice_combine(op).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    let slices = tensor(&[3, 2, 2], &[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0, -1.0, 0.0, 1.0, 2.0]);
    assert_eq!(run(&slices, &[0.5, 0.25, 1.0]), [2.0, 6.0, 10.0, 14.0]);
    assert_eq!(run(&slices, &[0.0, 1.0, 0.0]), [10.0, 20.0, 30.0, 40.0]);
}

/// Sums are f64: one rounding, and f64's own, which 1e-12 of the summands covers. 2048 elements make a task.
#[test]
fn agrees_with_f64() {
    for (seed, (slices, tokens, dim)) in (390..).step_by(2).zip([(1, 1, 1), (32, 7, 33), (16, 4, 1024), (3, 2, 1025)]) {
        let x = numbers(seed, slices * tokens * dim, 4.0);
        let scores = numbers(seed + 1, slices, 1.0);
        let size = tokens * dim;
        let sum = |i: usize| (0..slices).map(|j| f64::from(scores[j]) * f64::from(x[j * size + i])).sum::<f64>();
        let want: Vec<f64> = (0..size).map(sum).collect();
        let tensor = tensor(&[slices, tokens, dim], &x);
        let got = run(&tensor, &scores);
        assert_within("sums", &got, &want, |i| 2f64.powi(-24) * want[i].abs() + 1e-12);
        assert_eq!(got, run(&tensor, &scores), "repeats");
    }
}

#[test]
fn contract_errors() {
    let refused = |scores: &Tensor, out: &[usize], text: &str| {
        let slices = poisoned(&[3, 2, 4]);
        let mut out = poisoned(out);
        let op = SliceCombine { z_2d_slices: slices.view(), scores: scores.view(), out: out.view_mut() };
        assert_refused(CPU.slice_combine(op), text);
    };
    refused(&poisoned(&[4]), &[2, 4], "slice_combine: scores.slices is 4, but z_2d_slices.slices is 3");
    refused(&tensor_u32(&[0; 3]), &[2, 4], "slice_combine: scores holds U32, wanted F32");
    refused(&poisoned(&[3]), &[3, 4], "slice_combine: out.tokens is 3, but z_2d_slices.tokens is 2");
    refused(&poisoned(&[3]), &[2, 5], "slice_combine: out.dim is 5, but z_2d_slices.dim is 4");
    refused(&poisoned(&[3]), &[8], r#"slice_combine: out has dims [8], wanted ["tokens", "dim"]"#);
}
