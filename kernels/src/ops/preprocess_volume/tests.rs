//! Tests of `preprocess_volume`.
use super::{Crop, PreprocessVolume, Tap, reference, taps, written};
use crate::Device;
use crate::testing::*;

/// A size, a box in it, a scale, and the size that the box becomes.
pub(super) struct Case {
    pub size: [usize; 3],
    pub crop: Crop,
    pub scale: Option<[f32; 2]>,
    pub out: [usize; 3],
}

const fn case(size: [usize; 3], crop: Crop, scale: Option<[f32; 2]>, out: [usize; 3]) -> Case {
    Case { size, crop, scale, out }
}

/// Larger and smaller than the output, one voxel thick, one voxel, whole and parts, extreme scales.
pub(super) const CASES: [Case; 7] = [
    case([9, 21, 34], [[2, 8], [5, 16], [8, 26]], Some([-1000.0, 900.0]), [4, 16, 16]),
    case([3, 5, 7], [[0, 3], [0, 5], [0, 7]], Some([-1.0, 1.0]), [8, 9, 10]),
    case([1, 40, 33], [[0, 1], [10, 31], [8, 25]], Some([-160.0, 240.0]), [2, 16, 7]),
    case([6, 1, 65], [[1, 5], [0, 1], [16, 49]], Some([-1e6, 1e5]), [3, 3, 63]),
    case([1, 1, 2], [[0, 1], [0, 1], [1, 2]], Some([-1e-30, 1e-30]), [2, 1, 3]),
    case([8, 16, 16], [[2, 7], [4, 13], [4, 13]], None, [4, 8, 8]),
    case([4, 8, 70], [[0, 4], [0, 8], [0, 70]], Some([-3e38, 3e38]), [4, 8, 70]),
];

impl Case {
    /// Noise over the whole of the scale and beyond.
    pub fn volume(&self, seed: u32) -> Vec<f32> {
        let [low, high] = self.scale.unwrap_or([0.0, 1.0]);
        numbers(seed, self.size.iter().product(), 1.0).iter().map(|&v| (v * high).max(low * 1.1)).collect()
    }

    /// The whole volume in slabs of `slices` slices that overlap as they must.
    pub fn slabs(&self, slices: usize) -> Vec<std::ops::Range<usize>> {
        let slice_taps = taps(self.crop[0], self.out[0]);
        let mut slabs = Vec::new();
        let mut next = 0;
        while next < slice_taps.len() {
            let first = slice_taps[next].first;
            let slab = first..(first + slices).min(self.size[0]);
            next = written(&slice_taps, &slab).end;
            slabs.push(slab);
        }
        slabs
    }
}

fn run(case: &Case, volume: &[f32], slices: usize) -> Vec<f32> {
    let mut out = poisoned(&case.out);
    let [_, rows, columns] = case.size;
    for slab in case.slabs(slices) {
        let part = &volume[slab.start * rows * columns..slab.end * rows * columns];
        let part = tensor(&[slab.len(), rows, columns], part);
        let scale = case.scale;
        let crop = case.crop;
        let op = PreprocessVolume { slab: part.view(), first_slice: slab.start, scale, crop, out: out.view_mut() };
        CPU.preprocess_volume(op).expect("valid");
    }
    values(&out)
}

#[test]
fn worked_by_hand() {
    // -2..6 becomes 0..1; columns 1 to 3 are stretched to 6: places -0.25, 0.25, 0.75, 1.25, 1.75, 2.25.
    let volume = [-2.0, 6.0, -2.0, 2.0, -2.0];
    let crop = [[0, 1], [0, 1], [1, 4]];
    let stretched = case([1, 1, 5], crop, Some([-2.0, 6.0]), [1, 1, 6]);
    assert_eq!(run(&stretched, &volume, 1), [1.0, 0.75, 0.25, 0.125, 0.375, 0.5]);
    // Clipped to 0..2: both peaks become 1.
    assert_eq!(run(&case([1, 1, 5], crop, Some([0.0, 2.0]), [1, 1, 3]), &volume, 1), [1.0, 0.0, 1.0]);
    // Taken as they are.
    assert_eq!(run(&case([1, 2, 1], [[0, 1], [1, 2], [0, 1]], None, [1, 1, 1]), &[-2.0, 0.5], 1), [0.5]);
}

/// A place is off by less than two roundings of an axis' length, between voxels that differ by 1 at most; then eight
/// roundings at most of a value up to 1.
#[test]
fn agrees_with_f64() {
    for (seed, case) in (480..).zip(&CASES) {
        let volume = case.volume(seed);
        let got = run(case, &volume, case.size[0]);
        let want = reference::preprocess_volume(&volume, case.size, case.scale, case.crop, case.out);
        let bound = 2f64.powi(-24) * (8.0 + 2.0 * case.size.iter().sum::<usize>() as f64);
        assert_within(&format!("{:?} to {:?}", case.size, case.out), &got, &want, |_| bound);
    }
}

/// However the volume is cut, no bit changes.
#[test]
fn slabs_do_not_matter() {
    for (seed, case) in (480..).zip(&CASES) {
        let volume = case.volume(seed);
        let whole = run(case, &volume, case.size[0]);
        for slices in 2..case.size[0] {
            assert_eq!(run(case, &volume, slices), whole, "{:?} in slabs of {slices}", case.size);
        }
    }
}

/// What the slab does not decide stays as it is.
#[test]
fn other_slices_are_left_alone() {
    let Case { crop, scale, .. } = case([4, 1, 1], [[0, 4], [0, 1], [0, 1]], None, [4, 1, 1]);
    let slab = tensor(&[2, 1, 1], &[5.0, 6.0]);
    let mut out = tensor(&[4, 1, 1], &[9.0; 4]);
    let op = PreprocessVolume { slab: slab.view(), first_slice: 2, scale, crop, out: out.view_mut() };
    CPU.preprocess_volume(op).expect("valid");
    assert_eq!(values(&out), [9.0, 9.0, 5.0, 6.0]);
    let op = PreprocessVolume { slab: slab.view(), first_slice: 7, scale, crop, out: out.view_mut() };
    CPU.preprocess_volume(op).expect("a slab of which nothing is wanted");
    assert_eq!(values(&out), [9.0, 9.0, 5.0, 6.0]);
}

#[test]
fn taps_are_half_pixel_and_clamped() {
    // 2 -> 4 along an axis that starts at 5: places -0.25, 0.25, 0.75, 1.25, the first clamped to 0.
    let want = [(5, 6, 0.0), (5, 6, 0.25), (5, 6, 0.75), (6, 6, 0.25)];
    assert_eq!(taps([5, 7], 4), want.map(|(first, second, weight)| Tap { first, second, weight }));
    // One slice stretched to three: all of them are that slice.
    assert!(taps([0, 1], 3).iter().all(|tap| tap.first == 0 && tap.second == 0));
    assert_eq!([0..7, 5..6, 6..7, 0..5].map(|slices| written(&taps([5, 7], 4), &slices)), [0..4, 0..0, 3..4, 0..0]);
}

#[test]
fn contract_errors() {
    let refused = |slab: &[usize], first_slice, scale, crop, out: &[usize], text: &str| {
        let slab = poisoned(slab);
        let mut out = poisoned(out);
        let op = PreprocessVolume { slab: slab.view(), first_slice, scale, crop, out: out.view_mut() };
        assert_refused(CPU.preprocess_volume(op), text);
    };
    let scale = Some([0.0, 1.0]);
    let whole = [[0, 4]; 3];
    let text = r#"preprocess_volume: slab has dims [4], wanted ["slices", "height", "width"]"#;
    refused(&[4], 0, scale, whole, &[1, 2, 3], text);
    let text = "preprocess_volume: slab is [4, 0, 4], wanted sizes above 0";
    refused(&[4, 0, 4], 0, scale, whole, &[1, 2, 3], text);
    let text = "preprocess_volume: out is [0, 2, 3], wanted sizes above 0";
    refused(&[4, 4, 4], 0, scale, whole, &[0, 2, 3], text);
    for crop in [[[0, 4], [0, 5], [0, 4]], [[0, 4], [0, 4], [4, 4]], [[3, 2], [0, 4], [0, 4]]] {
        let text = format!("preprocess_volume: crop is {crop:?}, wanted a box that has voxels, in slices of 4 by 4");
        refused(&[4, 4, 4], 0, scale, crop, &[1, 2, 3], &text);
    }
    let text = "preprocess_volume: scale is 3..3, wanted finite numbers that rise";
    refused(&[4, 4, 4], 0, Some([3.0, 3.0]), whole, &[1, 2, 3], text);
    let text = "preprocess_volume: scale is 0..inf, wanted finite numbers that rise";
    refused(&[4, 4, 4], 0, Some([0.0, f32::INFINITY]), whole, &[1, 2, 3], text);
    let text = format!("preprocess_volume: first_slice is {}, too large a number", usize::MAX);
    refused(&[4, 4, 4], usize::MAX, scale, whole, &[1, 2, 3], &text);
}
