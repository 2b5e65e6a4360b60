//! Tests of `slice_keys`.
use super::SliceKeys;
use crate::testing::*;
use crate::{Device, Tensor};

fn run(z_3d: Option<&Tensor>, z_2d: Option<&Tensor>, whole_volume: bool, dims: [usize; 2]) -> Vec<f32> {
    let mut keys = poisoned(&dims);
    let z_3d = z_3d.map(Tensor::view);
    let z_2d_slices = z_2d.map(Tensor::view);
    CPU.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume, keys: keys.view_mut() }).expect("valid");
    values(&keys)
}

#[test]
fn worked_by_hand() {
    // Two layers of one token for four slices of two tokens.
    let layers = tensor(&[2, 1, 1], &[30.0, 60.0]);
    let slices = tensor(&[4, 2, 1], &[1.0, 2.0, 4.0, 5.0, 0.0, 3.0, -3.0, 0.0]);
    assert_eq!(run(Some(&layers), Some(&slices), false, [4, 1]), [11.0, 13.0, 21.0, 19.0]);
    assert_eq!(run(Some(&layers), None, false, [4, 1]), [30.0, 30.0, 60.0, 60.0]);
    assert_eq!(run(None, Some(&slices), false, [4, 1]), [1.5, 4.5, 1.5, -1.5]);
    assert_eq!(run(Some(&layers), Some(&slices), true, [4, 1]), [23.25, 24.75, 23.25, 21.75]);
    assert_eq!(run(Some(&layers), None, true, [4, 1]), [45.0; 4]);
}

/// Sums are f64: one rounding, and f64's own, which 1e-12 of the summands covers.
#[test]
fn agrees_with_f64() {
    for (seed, (layers, layer_tokens, slices, slice_tokens, dim)) in
        (420..).step_by(2).zip([(8, 64, 32, 16, 33), (1, 1, 1, 1, 1), (3, 5, 9, 7, 130), (4, 2, 4, 3, 8)])
    {
        let z_3d = numbers(seed, layers * layer_tokens * dim, 3.0);
        let z_2d = numbers(seed + 1, slices * slice_tokens * dim, 3.0);
        let a = tensor(&[layers, layer_tokens, dim], &z_3d);
        let b = tensor(&[slices, slice_tokens, dim], &z_2d);
        for whole in [false, true] {
            let want: Vec<f64> = (0..slices * dim)
                .map(|i| {
                    let slice = i / dim;
                    let column = i % dim;
                    let layer = slice / (slices / layers);
                    let of_layer = (0..layers * layer_tokens).filter(|t| whole || t / layer_tokens == layer);
                    let first: Vec<f64> = of_layer.map(|t| f64::from(z_3d[t * dim + column])).collect();
                    let second = (0..slice_tokens).map(|t| f64::from(z_2d[(slice * slice_tokens + t) * dim + column]));
                    let count = (first.len() + slice_tokens) as f64;
                    (first.iter().sum::<f64>() + second.sum::<f64>()) / count
                })
                .collect();
            let got = run(Some(&a), Some(&b), whole, [slices, dim]);
            assert_within("keys", &got, &want, |i| 2f64.powi(-24) * want[i].abs() + 1e-12);
            assert_eq!(got, run(Some(&a), Some(&b), whole, [slices, dim]), "repeats");
        }
    }
}

#[test]
fn contract_errors() {
    let refused = |z_3d: Option<&[usize]>, z_2d: Option<&[usize]>, keys: &mut Tensor, text: &str| {
        let z_3d = z_3d.map(poisoned);
        let z_2d = z_2d.map(poisoned);
        let z_3d = z_3d.as_ref().map(Tensor::view);
        let z_2d_slices = z_2d.as_ref().map(Tensor::view);
        let op = SliceKeys { z_3d, z_2d_slices, whole_volume: false, keys: keys.view_mut() };
        assert_refused(CPU.slice_keys(op), text);
    };
    let mut keys = poisoned(&[4, 3]);
    refused(None, None, &mut keys, "slice_keys: neither z_3d nor z_2d_slices");
    refused(Some(&[3, 2, 3]), None, &mut keys, "slice_keys: 3 depth layers do not divide 4 slices");
    refused(Some(&[0, 2, 3]), None, &mut keys, "slice_keys: 0 depth layers do not divide 4 slices");
    refused(Some(&[2, 2, 5]), None, &mut keys, "slice_keys: z_3d.dim is 5, but keys.dim is 3");
    refused(None, Some(&[5, 2, 3]), &mut keys, "slice_keys: z_2d_slices.slices is 5, but keys.slices is 4");
    refused(
        None,
        Some(&[4, 6]),
        &mut keys,
        "slice_keys: z_2d_slices has dims [4, 6], wanted [\"slices\", \"slice tokens\", \"dim\"]",
    );
    let device: &dyn Device = &CPU;
    let mut ids = device.tensor(&[4, 3], crate::DType::U32).expect("memory");
    refused(Some(&[2, 2, 3]), None, &mut ids, "slice_keys: keys hold U32, wanted F32");
}
