//! The kernels against the CPU.
use super::tests::{CASES, body};
use super::{Intensity, PreprocessVolume};
use crate::testing::assert_within;
use crate::testing_gpu::*;

/// The box, then the voxels.
fn run(rig: &Rig<'_>, volume: &[f32], size: [usize; 3], intensity: Intensity, out: [usize; 3]) -> Vec<f32> {
    let (volume, mut crop, mut resized) = (rig.floats(&size, volume), rig.ids(&[9; 6]), rig.poisoned_floats(&out));
    let op = PreprocessVolume { volume: volume.view(), intensity, crop: crop.view_mut(), out: resized.view_mut() };
    rig.device.preprocess_volume(op).expect("valid");
    let crop = rig.device.read_u32(crop.view()).expect("whole numbers");
    crop.into_iter().map(|bound| bound as f32).chain(rig.read(&resized)).collect()
}

/// Scaled voxels and places are equal to the bit; a blend may be fused on one side, which spares a rounding of at most
/// 2^-24 in each of seven blends.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (size, scale, intensity, out)) in (1..).zip(CASES) {
        let volume = body(seed, size, scale);
        let (got, want) = on_gpu_and_cpu(|rig| run(rig, &volume, size, intensity, out));
        assert_eq!(got[..6], want[..6], "{size:?}");
        let want: Vec<f64> = want.iter().map(|&v| v.into()).collect();
        assert_within(&format!("{size:?} to {out:?}"), &got, &want, |_| 7.0 * 2f64.powi(-24));
    }
}

/// More rows than warps walk them, and one voxel at each end of the volume.
#[test]
fn the_box_is_tight() {
    let size = [3, 3000, 2];
    let mut volume = vec![0.0; size.iter().product()];
    (volume[2 * 7 + 1], volume[2 * 8990 + 1]) = (0.5, 1e-40);
    let (got, want) = on_gpu_and_cpu(|rig| run(rig, &volume, size, Intensity::Prepared, [1, 2, 1]));
    assert_eq!(want[..6], [0.0, 3.0, 7.0, 2991.0, 1.0, 2.0]);
    assert_eq!(got, want);
}

/// Constant, empty and clipped away: a box of zeros and NaN on both.
#[test]
fn nothing_to_see() {
    for (voxel, intensity) in
        [(5.0, Intensity::MinMax), (-1.0, Intensity::Prepared), (5.0, Intensity::Window([10.0, 20.0]))]
    {
        let (got, want) = on_gpu_and_cpu(|rig| run(rig, &[voxel; 24], [2, 3, 4], intensity, [1, 2, 1]));
        assert_eq!(got[..6], [0.0; 6]);
        assert!(got[6..].iter().chain(&want[6..]).all(|v| v.is_nan()));
        assert_eq!(want[..6], [0.0; 6]);
    }
}
