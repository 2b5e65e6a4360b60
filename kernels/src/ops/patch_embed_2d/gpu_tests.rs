//! The kernels against the CPU.
use super::PatchEmbed2d;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// As `patch_embed_3d`'s test: voxels that bf16 holds, n products of at most 0.2, bias and position. A voxel that bf16
/// does not hold is rounded to it, once.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (slices, grid, patch, hidden)) in (1..).zip([
        (1, [1, 1], 1, 1),
        (3, [4, 2], 3, 17),
        (2, [3, 3], 16, 40),
        (5, [2, 3], 4, 72),
        (2, [5, 7], 2, 24),
        (1, [7, 9], 2, 65),
        (1, [8, 8], 2, 63),
        (1, [5, 13], 2, 64),
    ]) {
        let size = [slices, grid[0] * patch, grid[1] * patch];
        let patches = grid[0] * grid[1];
        let volume: Vec<f32> = numbers(seed, size.iter().product(), 0.5).iter().map(|v| v + 0.5).collect();
        let run = |volume: &[f32]| {
            on_gpu_and_cpu(|rig| {
                let part = |offset, dims: &[usize], scale| {
                    rig.weight(dims, &numbers(seed + offset, dims.iter().product(), scale))
                };
                let weight = part(10, &[hidden, patch * patch], 0.2);
                let bias = part(20, &[hidden], 1.0);
                let positions = part(30, &[patches, hidden], 1.0);
                let volume = rig.floats(&size, volume);
                let mut out = rig.poisoned(&[slices * patches, hidden]);
                let op = PatchEmbed2d {
                    volume: volume.view(),
                    patch,
                    weight: weight.view(),
                    bias: bias.view(),
                    positions: positions.view(),
                    out: out.view_mut(),
                };
                rig.device.patch_embed_2d(op).expect("valid");
                rig.read(&out)
            })
        };
        let (got, want) = run(&rounded(&volume));
        let voxels = (patch * patch) as f64;
        let slack = (voxels + 3.0) * 2f64.powi(-24) * (0.2 * voxels + 2.0);
        assert_rounds_to(&format!("{slices} of {grid:?} of {patch} to {hidden}"), &got, &want, |_| slack);
        if seed == 2 {
            assert_eq!(run(&volume).0, got, "rounded on the way");
        }
    }
}
