//! The kernel against the CPU.
use super::Advance;
use crate::testing_gpu::*;

#[test]
fn agrees_with_the_cpu() {
    for count in [1u32, 31, 32, 33, 100] {
        let (got, want) = on_gpu_and_cpu(|rig| {
            let values: Vec<u32> = (0..count).map(|i| (u32::MAX - 50).wrapping_add(i)).collect();
            let mut counters = rig.ids(&values);
            rig.device.advance(Advance { counters: counters.view_mut() }).expect("valid");
            let counted = rig.device.read_u32(counters.view()).expect("ids");
            counted.into_iter().map(f32::from_bits).collect()
        });
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        assert_eq!(bits(got), bits(want), "{count} counters");
    }
}
