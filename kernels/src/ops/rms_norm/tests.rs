//! Tests of `rms_norm`.
use super::{RmsNorm, reference};
use crate::testing::*;
use crate::{Device, Tensor};

fn run(x: &Tensor, weight: &Tensor, eps: f32) -> Vec<f32> {
    let mut out = poisoned(x.dims().as_slice());
    CPU.rms_norm(RmsNorm { x: x.view(), weight: weight.view(), eps, out: out.view_mut() }).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    // Mean square 12; with eps 4 the root is 4.
    let x = tensor(&[2, 4], &[2.0, 2.0, 2.0, 6.0, 0.0, 0.0, 0.0, 0.0]);
    let weight = tensor(&[4], &[1.0, 2.0, -4.0, 2.0]);
    assert_eq!(run(&x, &weight, 4.0), [0.5, 1.0, -2.0, 3.0, 0.0, 0.0, 0.0, 0.0]);
}

/// The mean square is f64, so two roundings of f32 remain: the normed value and the product.
#[test]
fn agrees_with_f64() {
    for (index, (rows, dim, scale, eps)) in [
        (1, 1, 1.0, 1e-5),
        (3, 7, 1.0, 1e-12),
        (2, 64, 1e-4, 1e-5),
        (33, 3072, 3.0, 1e-5),
        (2, 257, 1e18, 1e-6),
        (2, 100, 1e-20, 1e-5),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 330 + 2 * index as u32;
        let x = numbers(seed, rows * dim, scale);
        let (weight, w) = weight(&[dim], WEIGHT_TYPES[index % 3], &numbers(seed + 1, dim, 2.0));
        let x_tensor = tensor(&[rows, dim], &x);
        let got = run(&x_tensor, &weight, eps);
        let want: Vec<f64> = x.chunks(dim).flat_map(|x| reference::rms_norm(x, &w, f64::from(eps))).collect();
        let bound = |i: usize| 3.0 * 2f64.powi(-24) * want[i].abs();
        assert_within(&format!("{rows} x {dim}, scale {scale}"), &got, &want, bound);
        assert_eq!(got, run(&x_tensor, &weight, eps), "repeats");
    }
}

#[test]
fn contract_errors() {
    let refused = |x: &[usize], weight: &[usize], out: &[usize], text: &str| {
        let x = poisoned(x);
        let weight = poisoned(weight);
        let mut out = poisoned(out);
        let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1.0, out: out.view_mut() };
        assert_refused(CPU.rms_norm(op), text);
    };
    refused(&[8], &[8], &[1, 8], r#"rms_norm: x has dims [8], wanted ["rows", "dim"]"#);
    refused(&[2, 8], &[7], &[2, 8], "rms_norm: weight.dim is 7, but x.dim is 8");
    refused(&[2, 8], &[8], &[3, 8], "rms_norm: out.rows is 3, but x.rows is 2");
    let x = poisoned(&[1, 2]);
    let ids = tensor_u32(&[1, 1]);
    let mut out = poisoned(&[1, 2]);
    let op = RmsNorm { x: x.view(), weight: ids.view(), eps: 1.0, out: out.view_mut() };
    assert_refused(CPU.rms_norm(op), "rms_norm: weight holds U32, wanted a float type");
}
