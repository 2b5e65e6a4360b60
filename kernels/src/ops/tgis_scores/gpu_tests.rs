//! The kernels against the CPU.
use super::TgisScores;
use crate::testing::{assert_within, numbers};
use crate::testing_gpu::*;

/// Both sides are f64 and rounded once. In f64 a logit errs by less than 2^-43 of the sum of magnitudes, at most 10^5
/// here, so that a score moves by at most 2^-26 of itself, and f32 rounds within 2^-24. The last case is
/// saturated beyond the range of f32: its highest score is 1 and no other counts, and there is no NaN.
#[test]
fn agrees_with_the_cpu() {
    for (seed, ([slices, dim], scale, temperature)) in (1..).zip([
        ([1, 1], 1.0, 1.0),
        ([32, 3072], 1.0, 5.0),
        ([16, 33], 1.0, 1e-3),
        ([65, 20], 1.0, 5.0),
        ([63, 65], 1.0, 5.0),
        ([64, 63], 1.0, 5.0),
        ([300, 7], 2.0, 1.0),
        ([3, 64], 0.0, 1.0),
        ([3, 9], 1e30, 1.0),
    ]) {
        let (got, want) = on_gpu_and_cpu(|rig| {
            let keys = rig.floats(&[slices, dim], &numbers(seed, slices * dim, scale));
            let guide = rig.weight(&[1, dim], &numbers(seed + 50, dim, scale.max(1.0)));
            let mut scores = rig.poisoned_floats(&[slices]);
            let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature, scores: scores.view_mut() };
            rig.device.tgis_scores(op).expect("valid");
            rig.read(&scores)
        });
        let want: Vec<f64> = want.iter().map(|&v| v.into()).collect();
        let bound = |i: usize| 1.3 * 2f64.powi(-23) * want[i];
        assert_within(&format!("{slices} x {dim}, temperature {temperature}"), &got, &want, bound);
    }
}

/// As on the CPU: one number that is not finite, in a key or in the guide, and no score is a number. More slices than a
/// block has threads, too.
#[test]
fn a_number_that_is_not_finite_makes_every_score_nan() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (slices, at, guide) in [(5, 0, 1.0), (5, 22, -1.0), (300, 2000, 1.0), (5, 7, value)] {
            let dim = 7;
            let (got, want) = on_gpu_and_cpu(|rig| {
                let mut keys = numbers(60, slices * dim, 1.0);
                keys[at] = if guide.is_finite() { value } else { 1.0 };
                let mut guides = vec![0.5; dim];
                guides[at % dim] = guide;
                let keys = rig.floats(&[slices, dim], &keys);
                let guide = rig.weight(&[1, dim], &guides);
                let mut scores = rig.floats(&[slices], &vec![0.0; slices]);
                let op =
                    TgisScores { keys: keys.view(), guide: guide.view(), temperature: 5.0, scores: scores.view_mut() };
                rig.device.tgis_scores(op).expect("valid");
                rig.read(&scores).iter().map(|score| f32::from(u8::from(score.is_nan()))).collect()
            });
            assert_eq!((got, want), (vec![1.0; slices], vec![1.0; slices]), "{value} at {at} of {slices}");
        }
    }
}
