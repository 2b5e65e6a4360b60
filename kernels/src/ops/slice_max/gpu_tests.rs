//! The kernel against the CPU.
use super::SliceMax;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Exact; one value in three has a slice that is infinite or NaN, and is NaN then.
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
        for at in (0..tokens * dim).step_by(3) {
            z[at % slices * tokens * dim + at] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][at / 3 % 3];
        }
        let (got, want) = on_gpu_and_cpu(|rig| {
            let z = rig.acts(&[slices, tokens, dim], &z);
            let mut out = rig.poisoned(&[tokens, dim]);
            rig.device.slice_max(SliceMax { z_2d_slices: z.view(), out: out.view_mut() }).expect("valid");
            rig.read(&out)
        });
        let same = |(got, want): (&f32, &f32)| got == want || (got.is_nan() && want.is_nan());
        assert!(got.iter().zip(&want).all(same), "{slices} x {tokens} x {dim}: {got:?}, wanted {want:?}");
        let lost = (0..got.len()).find(|at| got[*at].is_finite() == (at % 3 == 0));
        assert_eq!(lost, None, "{slices} x {tokens} x {dim}: {got:?}");
    }
}
