//! Tests of `tgis_scores`.
use super::TgisScores;
use crate::testing::*;
use crate::{Device, Tensor};

fn run(keys: &Tensor, guide: &Tensor, temperature: f32) -> Vec<f32> {
    let mut scores = poisoned(&keys.dims().as_slice()[..1]);
    let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature, scores: scores.view_mut() };
    CPU.tgis_scores(op).expect("valid");
    values(&scores)
}

#[test]
fn worked_by_hand() {
    // Dot products 5 ln 6, 5 ln 3 and 5 ln 1 at temperature 5: 6/10, 3/10, 1/10.
    let keys = tensor(&[3, 2], &[6f32.ln(), 0.0, 0.0, 3f32.ln(), 0.0, 0.0]);
    let scores = run(&keys, &tensor(&[1, 2], &[5.0, 5.0]), 5.0);
    assert_close("scores", &scores, &[0.6, 0.3, 0.1], 1e-6);
}

/// One rounding of an f64 result, for every type of guide; scores sum to 1 within one rounding each.
#[test]
fn agrees_with_f64() {
    for (index, (slices, dim, temperature)) in [(1, 1, 1.0), (32, 3072, 5.0), (16, 33, 1e-3)].into_iter().enumerate() {
        let keys = numbers(410, slices * dim, 1.0);
        let (guide, g) = weight(&[1, dim], WEIGHT_TYPES[index], &numbers(411, dim, 1.0));
        let dot = |key: &[f32]| key.iter().zip(&g).map(|(&k, &g)| f64::from(k) * f64::from(g)).sum::<f64>();
        let powers: Vec<f64> = keys.chunks(dim).map(|key| dot(key) / f64::from(temperature)).collect();
        let highest = powers.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = powers.iter().map(|power| (power - highest).exp()).sum();
        let want: Vec<f64> = powers.iter().map(|power| (power - highest).exp() / sum).collect();
        let keys = tensor(&[slices, dim], &keys);
        let got = run(&keys, &guide, temperature);
        assert_within("scores", &got, &want, |i| 1.001 * 2f64.powi(-24) * want[i] + 1e-30);
        let total: f64 = got.iter().map(|&v| f64::from(v)).sum();
        assert!((total - 1.0).abs() <= 2f64.powi(-24), "they sum to {total}");
        assert_eq!(got, run(&keys, &guide, temperature), "repeats");
    }
}

/// Equal keys: exactly 1/N. Dot products beyond f32's exponent range: all on one slice, no NaN.
#[test]
fn flat_and_saturated() {
    assert_eq!(run(&tensor(&[4, 2], &[3.0; 8]), &tensor(&[1, 2], &[1e3, -7.0]), 1.0), [0.25; 4]);
    let keys = tensor(&[3, 1], &[1e30, -1e30, 2e30]);
    assert_eq!(run(&keys, &tensor(&[1, 1], &[1e30]), 1.0), [0.0, 0.0, 1.0]);
}

/// One number that is not finite, in the first, a middle or the last key, or in the guide: no score is a number.
#[test]
fn a_number_that_is_not_finite_makes_every_score_nan() {
    let slices = 5;
    let dim = 3;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 7, 14] {
            let mut keys = numbers(420, slices * dim, 1.0);
            keys[at] = value;
            for guide in [[1.0, 0.5, 2.0], [-1.0, -0.5, -2.0], [0.0; 3]] {
                let scores = run(&tensor(&[slices, dim], &keys), &tensor(&[1, dim], &guide), 5.0);
                assert!(scores.iter().all(|score| score.is_nan()), "{value} at {at}, {guide:?}: {scores:?}");
            }
        }
        let keys = tensor(&[slices, dim], &numbers(421, slices * dim, 1.0));
        let scores = run(&keys, &tensor(&[1, dim], &[0.5, value, 1.0]), 5.0);
        assert!(scores.iter().all(|score| score.is_nan()), "{value} in the guide: {scores:?}");
    }
}

#[test]
fn contract_errors() {
    let refused = |guide: &[usize], temperature, scores: &mut Tensor, text: &str| {
        let keys = poisoned(&[3, 4]);
        let guide = poisoned(guide);
        let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature, scores: scores.view_mut() };
        assert_refused(CPU.tgis_scores(op), text);
    };
    let mut scores = poisoned(&[3]);
    refused(&[2, 4], 1.0, &mut scores, "tgis_scores: guide.1 is 2, wanted 1");
    refused(&[1, 5], 1.0, &mut scores, "tgis_scores: guide.dim is 5, but keys.dim is 4");
    refused(&[1, 4], 0.0, &mut scores, "tgis_scores: temperature is 0, wanted > 0");
    refused(&[1, 4], f32::NAN, &mut scores, "tgis_scores: temperature is NaN, wanted > 0");
    refused(&[1, 4], 1.0, &mut poisoned(&[2]), "tgis_scores: scores.slices is 2, but keys.slices is 3");
    refused(&[1, 4], 1.0, &mut tensor_u32(&[0; 3]), "tgis_scores: scores hold U32, wanted F32");
}
