//! The kernel against the CPU.
use super::SliceKeys;
use crate::testing::{assert_within, numbers};
use crate::testing_gpu::*;

/// A mean of n values of at most 2, summed in eight parts, errs by less than n/8 + 10 roundings of 2; the CPU's by one.
#[test]
fn agrees_with_the_cpu() {
    for (seed, ([layers, slices], [layer_tokens, slice_tokens], dim, which, whole_volume)) in (1..).zip([
        ([1, 1], [1, 1], 1, [true, true], false),
        ([4, 8], [6, 9], 24, [true, true], false),
        ([2, 6], [5, 7], 7, [true, true], true),
        ([2, 4], [64, 256], 264, [true, true], false),
        ([3, 3], [4, 1], 20, [true, false], false),
        ([1, 5], [1, 65], 40, [false, true], false),
        ([2, 2], [3, 1], 257, [true, false], true),
        ([1, 2], [63, 64], 65, [true, true], false),
        ([2, 2], [65, 63], 64, [true, true], false),
    ]) {
        let (got, want) = on_gpu_and_cpu(|rig| {
            let z_3d = rig.acts(&[layers, layer_tokens, dim], &numbers(seed, layers * layer_tokens * dim, 2.0));
            let z_2d = rig.acts(&[slices, slice_tokens, dim], &numbers(seed + 50, slices * slice_tokens * dim, 2.0));
            let mut keys = rig.poisoned_floats(&[slices, dim]);
            let z_3d = which[0].then(|| z_3d.view());
            let z_2d_slices = which[1].then(|| z_2d.view());
            rig.device.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume, keys: keys.view_mut() }).expect("valid");
            rig.read(&keys)
        });
        let tokens = (layers * layer_tokens + slice_tokens) as f64;
        let want: Vec<f64> = want.iter().map(|&v| v.into()).collect();
        let what = format!("{layers} layers, {slices} slices, {dim}");
        assert_within(&what, &got, &want, |_| 2.0 * (tokens / 8.0 + 11.0) * 2f64.powi(-24));
    }
}
