//! The kernel against the CPU.
use super::RmsNorm;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Sums of 256 threads' partial sums, five shuffles and eight adds err by less than 2^-20 of the sum, all terms being
/// positive; the root halves that.
#[test]
fn agrees_with_the_cpu() {
    for (seed, [rows, dim], scale, eps) in [
        (1, [1, 1], 1.0, 1e-5),
        (2, [3, 7], 1.0, 1e-12),
        (3, [2, 64], 1e-4, 1e-5),
        (4, [5, 3072], 3.0, 1e-5),
        (5, [2, 2056], 1e15, 1e-6),
        (6, [2, 100], 1e-20, 1e-5),
        (7, [65, 40], 2.0, 1e-6),
        (8, [63, 65], 2.0, 1e-6),
        (9, [64, 63], 2.0, 1e-6),
    ] {
        let (got, want) = on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[rows, dim], &numbers(seed, rows * dim, scale));
            let weight = rig.weight(&[dim], &numbers(seed + 100, dim, 2.0));
            let mut out = rig.poisoned(&[rows, dim]);
            let op = RmsNorm { x: x.view(), weight: weight.view(), eps, out: out.view_mut() };
            rig.device.rms_norm(op).expect("valid");
            rig.read(&out)
        });
        let slack = |i: usize| 2f64.powi(-20) * f64::from(want[i]).abs();
        assert_rounds_to(&format!("{rows} x {dim}, scale {scale}"), &got, &want, slack);
    }
}
