//! Tests of `preprocess_volume`.
use super::{Intensity, PreprocessVolume, reference};
use crate::testing::*;
use crate::{Device, Tensor};

/// A volume of background with a lump of noise inside, as a body lies in air.
pub(super) fn body(seed: u32, size: [usize; 3], scale: f32) -> Vec<f32> {
    let noise = numbers(seed, size.iter().product(), scale);
    let is_inside = |i: usize| {
        let place = [i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]];
        (0..3).all(|axis| place[axis] >= size[axis] / 4 && place[axis] <= size[axis] * 3 / 4)
    };
    noise.iter().enumerate().map(|(i, &v)| if is_inside(i) { v } else { -scale }).collect()
}

/// Sizes and scalings that tests share: larger and smaller than the output, one voxel thick, one voxel, windows.
pub(super) const CASES: [([usize; 3], f32, Intensity, [usize; 3]); 7] = [
    ([9, 21, 34], 1000.0, Intensity::MinMax, [4, 16, 16]),
    ([3, 5, 7], 1.0, Intensity::MinMax, [8, 9, 10]),
    ([1, 40, 33], 1000.0, Intensity::Window([-160.0, 240.0]), [2, 16, 7]),
    ([6, 1, 65], 1e6, Intensity::Window([-1e9, 1e5]), [3, 3, 63]),
    ([1, 1, 2], 1e-30, Intensity::MinMax, [2, 1, 3]),
    ([8, 16, 16], 1.0, Intensity::Prepared, [4, 8, 8]),
    ([4, 8, 70], 3e38, Intensity::MinMax, [4, 8, 70]),
];

fn run(volume: &[f32], size: [usize; 3], intensity: Intensity, out: [usize; 3]) -> ([u32; 6], Vec<f32>) {
    let (volume, mut crop, mut resized) = (tensor(&size, volume), tensor_u32(&[7; 6]), poisoned(&out));
    let op = PreprocessVolume { volume: volume.view(), intensity, crop: crop.view_mut(), out: resized.view_mut() };
    CPU.preprocess_volume(op).expect("valid");
    let crop = (&CPU as &dyn Device).read_u32(crop.view()).expect("whole numbers");
    (crop.try_into().expect("six"), values(&resized))
}

#[test]
fn worked_by_hand() {
    // -2..6 becomes 0..1; the box is columns 1 to 3; stretched to 6: places -0.25, 0.25, 0.75, 1.25, 1.75, 2.25.
    let volume = [-2.0, 6.0, -2.0, 2.0, -2.0];
    let (crop, out) = run(&volume, [1, 1, 5], Intensity::MinMax, [1, 1, 6]);
    assert_eq!(crop, [0, 1, 0, 1, 1, 4]);
    assert_eq!(out, [1.0, 0.75, 0.25, 0.125, 0.375, 0.5]);
    // Clipped to 0..2: both peaks become 1.
    assert_eq!(run(&volume, [1, 1, 5], Intensity::Window([0.0, 2.0]), [1, 1, 3]).1, [1.0, 0.0, 1.0]);
    assert_eq!(run(&[-2.0, 0.5], [1, 2, 1], Intensity::Prepared, [1, 1, 1]), ([0, 1, 1, 2, 0, 1], vec![0.5]));
}

/// A place is off by less than two roundings of an axis' length, between voxels that differ by 1 at most; then eight
/// roundings at most of a value up to 1.
#[test]
fn agrees_with_f64() {
    for (seed, (size, scale, intensity, out)) in (480..).zip(CASES) {
        let volume = body(seed, size, scale);
        let (crop, got) = run(&volume, size, intensity, out);
        let (want_crop, want) = reference::preprocess_volume(&volume, size, intensity, out).expect("a body");
        assert_eq!(crop.map(|bound| bound as usize), want_crop.as_flattened());
        let bound = 2f64.powi(-24) * (8.0 + 2.0 * size.iter().sum::<usize>() as f64);
        assert_within(&format!("{size:?} to {out:?}"), &got, &want, |_| bound);
        assert_eq!(got, run(&volume, size, intensity, out).1, "repeats");
    }
}

#[test]
fn nothing_to_see() {
    for (volume, intensity) in [
        ([5.0; 8], Intensity::MinMax),
        ([0.0; 8], Intensity::Prepared),
        ([-1.0; 8], Intensity::Prepared),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], Intensity::Window([10.0, 20.0])),
    ] {
        let (crop, out) = run(&volume, [2, 2, 2], intensity, [1, 2, 1]);
        assert_eq!(crop, [0; 6]);
        assert!(out.iter().all(|v| v.is_nan()));
    }
}

#[test]
fn contract_errors() {
    let refused = |volume: &[usize], intensity, crop: &mut Tensor, out: &mut Tensor, text: &str| {
        let volume = poisoned(volume);
        let op = PreprocessVolume { volume: volume.view(), intensity, crop: crop.view_mut(), out: out.view_mut() };
        assert_refused(CPU.preprocess_volume(op), text);
    };
    let (mut crop, mut out) = (tensor_u32(&[0; 6]), poisoned(&[1, 2, 3]));
    let text = r#"preprocess_volume: volume has dims [4], wanted ["slices", "height", "width"]"#;
    refused(&[4], Intensity::MinMax, &mut crop, &mut out, text);
    let text = "preprocess_volume: volume is [4, 0, 4], wanted sizes above 0";
    refused(&[4, 0, 4], Intensity::MinMax, &mut crop, &mut out, text);
    let text = "preprocess_volume: out is [0, 2, 3], wanted sizes above 0";
    refused(&[4, 4, 4], Intensity::MinMax, &mut crop, &mut poisoned(&[0, 2, 3]), text);
    let text = "preprocess_volume: crop.6 is 5, wanted 6";
    refused(&[4, 4, 4], Intensity::MinMax, &mut tensor_u32(&[0; 5]), &mut out, text);
    let text = "preprocess_volume: crop holds F32, wanted U32";
    refused(&[4, 4, 4], Intensity::MinMax, &mut poisoned(&[6]), &mut out, text);
    let text = "preprocess_volume: window is 3..3, wanted finite numbers that rise";
    refused(&[4, 4, 4], Intensity::Window([3.0, 3.0]), &mut crop, &mut out, text);
    let text = "preprocess_volume: window is 0..inf, wanted finite numbers that rise";
    refused(&[4, 4, 4], Intensity::Window([0.0, f32::INFINITY]), &mut crop, &mut out, text);
}
