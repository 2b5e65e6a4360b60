//! The kernel against the CPU.
use super::SliceMax;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Exact; every third value is infinite or NaN, which loses against any number.
#[test]
fn agrees_with_the_cpu() {
    for (seed, [slices, tokens, dim]) in (1..).zip([
        [1, 1, 1],
        [32, 3, 40],
        [8, 5, 7],
        [3, 65, 64],
        [2, 2, 1030],
        [2, 1, 2051],
        [4, 63, 65],
        [2, 64, 63],
    ]) {
        let mut z = numbers(seed, slices * tokens * dim, 3.0);
        for (i, value) in z.iter_mut().enumerate().filter(|(i, _)| i % 3 == 0 && i / (tokens * dim) + 1 < slices) {
            *value = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][i / 3 % 3];
        }
        let (got, want) = on_gpu_and_cpu(|rig| {
            let (z, mut out) = (rig.acts(&[slices, tokens, dim], &z), rig.poisoned(&[tokens, dim]));
            rig.device.slice_max(SliceMax { z_2d_slices: z.view(), out: out.view_mut() }).expect("valid");
            rig.read(&out)
        });
        assert_eq!(got, want, "{slices} x {tokens} x {dim}");
    }
}
