//! The kernel against the CPU.
use super::PreprocessVolume;
use super::tests::{CASES, Case};
use crate::testing_gpu::*;

fn run(rig: &Rig<'_>, case: &Case, volume: &[f32], slices: usize) -> Vec<f32> {
    let mut out = rig.poisoned_floats(&case.out);
    let [_, rows, columns] = case.size;
    for slab in case.slabs(slices) {
        let part =
            rig.floats(&[slab.len(), rows, columns], &volume[slab.start * rows * columns..slab.end * rows * columns]);
        let scale = case.scale;
        let crop = case.crop;
        let op = PreprocessVolume { slab: part.view(), first_slice: slab.start, scale, crop, out: out.view_mut() };
        rig.device.preprocess_volume(op).expect("valid");
    }
    rig.read(&out)
}

/// Every operation is rounded as on the CPU: the same bits, in one slab or in several.
#[test]
fn has_the_cpus_bits() {
    for (seed, case) in (1..).zip(&CASES) {
        let volume = case.volume(seed);
        for slices in [case.size[0], 2.min(case.size[0])] {
            let (got, want) = on_gpu_and_cpu(|rig| run(rig, case, &volume, slices));
            assert_eq!(got, want, "{:?} to {:?}", case.size, case.out);
        }
    }
}
