//! Tests of `layer_norm`.
use super::{LayerNorm, reference};
use crate::testing::*;
use crate::{DType, Device, Tensor};

fn run(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Vec<f32> {
    let mut out = poisoned(x.dims().as_slice());
    let op = LayerNorm { x: x.view(), weight: weight.view(), bias: bias.view(), eps, out: out.view_mut() };
    CPU.layer_norm(op).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    // Mean 3, variance 4; with eps 12 the root is 4.
    let x = tensor(&[2, 4], &[1.0, 1.0, 5.0, 5.0, 9.0, 9.0, 9.0, 9.0]);
    let weight = tensor(&[4], &[1.0, 2.0, 4.0, 8.0]);
    let bias = tensor(&[4], &[0.0, 1.0, 0.0, -1.0]);
    assert_eq!(run(&x, &weight, &bias, 12.0), [-0.5, 0.0, 2.0, 3.0, 0.0, 1.0, 0.0, -1.0]);
}

/// Statistics are f64, so only three roundings of f32 remain: the normed value, the product and the sum.
#[test]
fn agrees_with_f64() {
    for (index, (rows, dim, scale, mean, eps)) in [
        (1, 1, 1.0, 0.0, 1e-5),
        (3, 7, 1.0, 0.0, 1e-12),
        (2, 64, 1e-4, 0.0, 1e-5),
        (20, 768, 3.0, 0.0, 1e-5),
        (5, 1024, 1.0, 1e4, 1e-6),
        (2, 257, 1e4, -50.0, 1e-6),
        (4, 8, 0.0, 2.5, 1e-5),
    ]
    .into_iter()
    .enumerate()
    {
        let seed = 300 + 4 * index as u32;
        let dtype = WEIGHT_TYPES[index % 3];
        let x: Vec<f32> = numbers(seed, rows * dim, scale).iter().map(|v| v + mean).collect();
        let (weight, w) = weight(&[dim], dtype, &numbers(seed + 1, dim, 2.0));
        let (bias, b) = crate::testing::weight(&[dim], dtype, &numbers(seed + 2, dim, 1.0));
        let x_tensor = tensor(&[rows, dim], &x);
        let got = run(&x_tensor, &weight, &bias, eps);
        let want: Vec<f64> = x.chunks(dim).flat_map(|x| reference::layer_norm(x, &w, &b, f64::from(eps))).collect();
        let bound = |i: usize| {
            let bias = f64::from(b[i % dim]);
            2f64.powi(-24) * (3.0 * (want[i] - bias).abs() + 2.0 * bias.abs())
        };
        assert_within(&format!("{rows} x {dim}, scale {scale}, mean {mean}"), &got, &want, bound);
        assert_eq!(got, run(&x_tensor, &weight, &bias, eps), "repeats");
    }
}

#[test]
fn contract_errors() {
    let refused = |x: &[usize], weight: &[usize], bias: &[usize], out: &[usize], text: &str| {
        let x = poisoned(x);
        let weight = poisoned(weight);
        let bias = poisoned(bias);
        let mut out = poisoned(out);
        let x = x.view();
        let weight = weight.view();
        let bias = bias.view();
        let out = out.view_mut();
        assert_refused(CPU.layer_norm(LayerNorm { x, weight, bias, eps: 1.0, out }), text);
    };
    refused(&[8], &[8], &[8], &[1, 8], r#"layer_norm: x has dims [8], wanted ["rows", "dim"]"#);
    refused(&[2, 8], &[7], &[8], &[2, 8], "layer_norm: weight.dim is 7, but x.dim is 8");
    refused(&[2, 8], &[8], &[9], &[2, 8], "layer_norm: bias.dim is 9, but x.dim is 8");
    refused(&[2, 8], &[8], &[8], &[3, 8], "layer_norm: out.rows is 3, but x.rows is 2");
    let x = poisoned(&[1, 2]);
    let ids = tensor_u32(&[1, 1]);
    let bias = poisoned(&[2]);
    let mut out = poisoned(&[1, 2]);
    let op = LayerNorm { x: x.view(), weight: ids.view(), bias: bias.view(), eps: 1.0, out: out.view_mut() };
    assert_refused(CPU.layer_norm(op), "layer_norm: weight holds U32, wanted a float type");
    let (half, _) = weight(&[1, 2], DType::Bf16, &[0.0; 2]);
    let op = LayerNorm { x: half.view(), weight: bias.view(), bias: bias.view(), eps: 1.0, out: out.view_mut() };
    assert_refused(CPU.layer_norm(op), "view: elements are Bf16, wanted F32");
}
