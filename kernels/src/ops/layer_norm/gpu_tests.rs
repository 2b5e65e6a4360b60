//! The kernel against the CPU.
use super::LayerNorm;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// A lane adds 32 values of a row of 1024, the warp five times: sums err by less than 40 roundings, 2^-18.6 of the sum
/// of magnitudes. An error of the mean moves every element by it over the deviation; that of the squares, halved by the
/// root, scales. Where the mean is large beside the spread, bf16 values have few bits and their sums are exact.
#[test]
fn agrees_with_the_cpu() {
    for (seed, [rows, dim], scale, mean, eps) in [
        (1, [1, 1], 1.0, 0.0, 1e-5),
        (2, [3, 7], 1.0, 0.0, 1e-12),
        (3, [2, 64], 1e-4, 0.0, 1e-5),
        (4, [5, 768], 3.0, 0.5, 1e-5),
        (5, [9, 1024], 1.0, 100.0, 1e-6),
        (6, [2, 1030], 1e4, -50.0, 1e-6),
        (7, [2, 2056], 1.0, 0.0, 1e-12),
        (8, [3, 40], 0.0, 2.5, 1e-5),
        (9, [65, 20], 2.0, 1.0, 1e-5),
        (10, [63, 65], 2.0, 1.0, 1e-5),
        (11, [64, 63], 2.0, 1.0, 1e-5),
    ] {
        let x: Vec<f32> = numbers(seed, rows * dim, scale).iter().map(|v| v + mean).collect();
        let weight = numbers(seed + 100, dim, 2.0);
        let bias = numbers(seed + 200, dim, 1.0);
        let (got, want) = on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[rows, dim], &x);
            let weight = rig.weight(&[dim], &weight);
            let bias = rig.weight(&[dim], &bias);
            let mut out = rig.poisoned(&[rows, dim]);
            let op = LayerNorm { x: x.view(), weight: weight.view(), bias: bias.view(), eps, out: out.view_mut() };
            rig.device.layer_norm(op).expect("valid");
            rig.read(&out)
        });
        let x = rounded(&x);
        let weight = rounded(&weight);
        let bias = rounded(&bias);
        let shift: Vec<f64> = x.chunks(dim).map(|x| 2f64.powi(-18) * relative_size(x, eps)).collect();
        let slack = |i: usize| {
            let weight = f64::from(weight[i % dim]).abs();
            let bias = f64::from(bias[i % dim]);
            shift[i / dim] * weight + 2f64.powi(-18) * (f64::from(want[i]) - bias).abs() + 2f64.powi(-23) * bias.abs()
        };
        assert_rounds_to(&format!("{rows} x {dim}, scale {scale}, mean {mean}"), &got, &want, slack);
    }
}

/// The mean magnitude of a row over its deviation, 0 where the row is constant.
fn relative_size(x: &[f32], eps: f32) -> f64 {
    let count = x.len() as f64;
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
    let variance = x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
    let size = x.iter().map(|&v| f64::from(v).abs()).sum::<f64>() / count;
    if variance == 0.0 { 0.0 } else { size / (variance + f64::from(eps)).sqrt() }
}
