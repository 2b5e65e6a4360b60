//! The kernels against the CPU.
use super::PatchEmbed3d;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Voxels that bf16 holds, so that only sums differ: n products of at most 0.2, bias and position, of at most 1, each
/// err by less than n + 3 roundings of the sum of magnitudes in any order. The class token is exact.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (grid, patch, hidden)) in (1..).zip([
        ([1, 1, 1], [1, 1, 1], 1),
        ([2, 3, 4], [2, 3, 1], 19),
        ([2, 3, 5], [2, 4, 4], 24),
        ([3, 2, 3], [1, 3, 5], 40),
        ([1, 2, 2], [4, 16, 16], 264),
        ([1, 7, 9], [1, 2, 2], 65),
        ([4, 4, 4], [1, 2, 1], 63),
        ([1, 5, 13], [1, 2, 2], 64),
    ]) {
        let size = [0, 1, 2].map(|axis| grid[axis] * patch[axis]);
        let patches = grid.iter().product::<usize>();
        let voxels = patch.iter().product::<usize>();
        let volume: Vec<f32> = numbers(seed, size.iter().product(), 0.5).iter().map(|v| v + 0.5).collect();
        let (got, want) = on_gpu_and_cpu(|rig| {
            let part =
                |offset, dims: &[usize], scale| rig.weight(dims, &numbers(seed + offset, dims.iter().product(), scale));
            let weight = part(10, &[hidden, voxels], 0.2);
            let bias = part(20, &[hidden], 1.0);
            let positions = part(30, &[patches, hidden], 1.0);
            let class = part(40, &[1, hidden], 1.0);
            let volume = rig.floats(&size, &rounded(&volume));
            let mut out = rig.poisoned(&[1 + patches, hidden]);
            let op = PatchEmbed3d {
                volume: volume.view(),
                patch,
                weight: weight.view(),
                bias: bias.view(),
                positions: positions.view(),
                class_token: class.view(),
                out: out.view_mut(),
            };
            rig.device.patch_embed_3d(op).expect("valid");
            rig.read(&out)
        });
        assert_eq!(got[..hidden], want[..hidden], "the class token");
        let slack = (voxels as f64 + 3.0) * 2f64.powi(-24) * (0.2 * voxels as f64 + 2.0);
        assert_rounds_to(&format!("{grid:?} of {patch:?} to {hidden}"), &got, &want, |_| slack);
    }
}
