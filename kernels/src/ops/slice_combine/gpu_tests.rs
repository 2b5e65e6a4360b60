//! The kernel against the CPU.
use super::SliceCombine;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// A sum of n terms in order errs by less than n + 1 roundings of the sum of magnitudes: n scores of at most 1/n, times
/// at most 3.
#[test]
fn agrees_with_the_cpu() {
    for (seed, [slices, tokens, dim]) in (1..).zip([
        [1, 1, 1],
        [32, 3, 40],
        [8, 5, 7],
        [3, 65, 64],
        [32, 2, 1030],
        [2, 1, 2051],
        [4, 63, 65],
        [2, 64, 63],
    ]) {
        let scores: Vec<f32> = numbers(seed + 50, slices, 0.5).iter().map(|v| (v + 0.5) / slices as f32).collect();
        let (got, want) = on_gpu_and_cpu(|rig| {
            let z = rig.acts(&[slices, tokens, dim], &numbers(seed, slices * tokens * dim, 3.0));
            let scores = rig.floats(&[slices], &scores);
            let mut out = rig.poisoned(&[tokens, dim]);
            let op = SliceCombine { z_2d_slices: z.view(), scores: scores.view(), out: out.view_mut() };
            rig.device.slice_combine(op).expect("valid");
            rig.read(&out)
        });
        let slack = 3.0 * (slices as f64 + 1.0) * 2f64.powi(-24);
        assert_rounds_to(&format!("{slices} x {tokens} x {dim}"), &got, &want, |_| slack);
    }
}
