//! Tests of `rms_linear` on the CPU: the bits of the two ops that it stands for.
use super::RmsLinear;
use crate::ops::{Epilogue, Linear, RmsNorm};
use crate::testing::*;
use crate::{Device, Tensor};

#[test]
fn worked_by_hand() {
    // Mean square 12; with eps 4 the root is 4: the normed row is (1/2, 1, -2, 3).
    let x = tensor(&[1, 4], &[2.0, 2.0, 2.0, 6.0]);
    let norm = tensor(&[4], &[1.0, 2.0, -4.0, 2.0]);
    let weight = tensor(&[1, 4], &[2.0, 1.0, 0.5, -1.0]);
    let x = x.view();
    let norm = norm.view();
    let weight = weight.view();
    let mut out = poisoned(&[1, 1]);
    let op = RmsLinear { x, norm, eps: 4.0, weight, epilogue: Epilogue::None, out: out.view_mut() };
    CPU.rms_linear(op).expect("valid");
    assert_eq!(values(&out), [1.0 + 1.0 - 1.0 - 3.0]);
}

#[test]
fn has_the_bits_of_its_parts() {
    for (seed, [rows, inner, columns], epilogue) in
        [(1, [1, 24, 40], Epilogue::None), (2, [16, 20, 9], Epilogue::SwiGlu), (3, [3, 300, 33], Epilogue::SwiGlu)]
    {
        let weight_rows = columns << usize::from(epilogue == Epilogue::SwiGlu);
        let x = tensor(&[rows, inner], &numbers(seed, rows * inner, 3.0));
        let norm = tensor(&[inner], &numbers(seed + 10, inner, 2.0));
        let weight = tensor(&[weight_rows, inner], &numbers(seed + 20, weight_rows * inner, 0.5));
        let mut normed = poisoned(&[rows, inner]);
        let mut want = poisoned(&[rows, columns]);
        let mut got = poisoned(&[rows, columns]);
        let eps = 1e-5;
        let bias = None;
        CPU.rms_norm(RmsNorm { x: x.view(), weight: norm.view(), eps, out: normed.view_mut() }).expect("valid");
        let op = Linear { x: normed.view(), weight: weight.view(), bias, epilogue, out: want.view_mut() };
        CPU.linear(op).expect("valid");
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        CPU.rms_linear(RmsLinear { x, norm, eps, weight, epilogue, out: got.view_mut() }).expect("valid");
        assert_eq!(values(&got), values(&want), "{rows} x {inner} x {columns}");
    }
}

#[test]
fn contract_errors() {
    let refused = |x: &[usize], norm: &[usize], weight: &[usize], epilogue, text: &str| {
        let [x, norm, weight]: [Tensor; 3] = [x, norm, weight].map(poisoned);
        let mut out = poisoned(&[x.dims().as_slice()[0], 4]);
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        assert_refused(CPU.rms_linear(RmsLinear { x, norm, eps: 1.0, weight, epilogue, out: out.view_mut() }), text);
        assert!(values(&out).iter().all(|v| v.is_nan()), "the output is untouched");
    };
    use Epilogue::{None as Plain, SwiGlu, Tanh};
    refused(&[2, 3], &[4], &[4, 3], Plain, "rms_linear: norm.in is 4, but x.in is 3");
    refused(&[2, 3], &[3], &[4, 5], Plain, "rms_linear: weight.in is 5, but x.in is 3");
    refused(&[2, 3], &[3], &[4, 3], SwiGlu, "rms_linear: weight.2·out is 4, but out.2·out is 8");
    refused(&[17, 3], &[3], &[4, 3], Plain, "rms_linear: x has 17 rows, at most 16 are fused");
    refused(&[2, 3], &[3], &[4, 3], Tanh, "rms_linear: the epilogue is Tanh, wanted None or SwiGlu");
}
