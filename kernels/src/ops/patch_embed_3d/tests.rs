//! Tests of `patch_embed_3d`.
use super::PatchEmbed3d;
use crate::testing::*;
use crate::{Device, Result, Tensor};

fn run(volume: &Tensor, patch: [usize; 3], parts: [&Tensor; 4], out: &mut Tensor) -> Result<()> {
    let [weight, bias, positions, class_token] = parts.map(Tensor::view);
    let volume = volume.view();
    CPU.patch_embed_3d(PatchEmbed3d { volume, patch, weight, bias, positions, class_token, out: out.view_mut() })
}

#[test]
fn worked_by_hand() {
    // Two slices of 1 x 4, patches of 2 x 1 x 2: (1 2 / 5 6) and (3 4 / 7 8).
    let volume = tensor(&[2, 1, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let weight = tensor(&[1, 4], &[1.0, 10.0, 100.0, 1000.0]);
    let mut out = poisoned(&[3, 1]);
    let bias = tensor(&[1], &[0.5]);
    let positions = tensor(&[2, 1], &[0.0, 20000.0]);
    let class = tensor(&[1, 1], &[-7.0]);
    run(&volume, [2, 1, 2], [&weight, &bias, &positions, &class], &mut out).expect("valid");
    assert_eq!(values(&out), [-7.0, 6521.5, 28743.5]);
}

/// At most 256 roundings in a row and a few more, as `linear`'s tests argue; the class token is exact.
#[test]
fn agrees_with_f64() {
    for (index, (grid, patch, hidden)) in
        [([1, 1, 1], [1, 1, 1], 1), ([2, 3, 4], [2, 3, 1], 19), ([2, 2, 2], [4, 16, 16], 33)].into_iter().enumerate()
    {
        let seed = 460 + 5 * index as u32;
        let dtype = WEIGHT_TYPES[index];
        let size = [0, 1, 2].map(|axis| grid[axis] * patch[axis]);
        let patches = grid.iter().product::<usize>();
        let voxels = patch.iter().product::<usize>();
        let volume: Vec<f32> = numbers(seed, size.iter().product(), 0.5).iter().map(|v| v + 0.5).collect();
        let part =
            |offset, dims: &[usize], scale| weight(dims, dtype, &numbers(seed + offset, dims.iter().product(), scale));
        let ((weight, w), (bias, b)) = (part(1, &[hidden, voxels], 0.2), part(2, &[hidden], 1.0));
        let ((positions, p), (class, c)) = (part(3, &[patches, hidden], 1.0), part(4, &[1, hidden], 1.0));
        let mut want = Vec::new();
        let mut sizes = Vec::new();
        for (cell, o) in (0..patches).flat_map(|cell| (0..hidden).map(move |o| (cell, o))) {
            let corner = [cell / (grid[1] * grid[2]), cell / grid[2] % grid[1], cell % grid[2]];
            let terms = (0..voxels).map(|i| {
                let inside = [i / (patch[1] * patch[2]), i / patch[2] % patch[1], i % patch[2]];
                let [n, y, x] = [0, 1, 2].map(|axis| corner[axis] * patch[axis] + inside[axis]);
                f64::from(volume[(n * size[1] + y) * size[2] + x]) * f64::from(w[o * voxels + i])
            });
            let terms: Vec<f64> = terms.chain([f64::from(b[o]), f64::from(p[cell * hidden + o])]).collect();
            want.push(terms.iter().sum::<f64>());
            sizes.push(terms.iter().map(|t| t.abs()).sum::<f64>());
        }
        let embed = || {
            let mut out = poisoned(&[1 + patches, hidden]);
            run(&tensor(&size, &volume), patch, [&weight, &bias, &positions, &class], &mut out).expect("valid");
            values(&out)
        };
        let got = embed();
        assert_eq!(got[..hidden], c);
        let roundings = 4.0 * (voxels.min(256) as f64 + 8.0).sqrt();
        assert_within("tokens", &got[hidden..], &want, |i| roundings * 2f64.powi(-24) * sizes[i]);
        assert_eq!(got, embed(), "repeats");
    }
}

#[test]
fn contract_errors() {
    let good: [&[usize]; 6] = [&[2, 4, 6], &[5, 12], &[5], &[4, 5], &[1, 5], &[5, 5]];
    let refused = |patch, part: usize, dims: &[usize], text: &str| {
        let mut all = good;
        all[part] = dims;
        let [volume, weight, bias, positions, class, mut out] = all.map(poisoned);
        assert_refused(run(&volume, patch, [&weight, &bias, &positions, &class], &mut out), text);
    };
    let patch = [1, 4, 3];
    refused([1, 3, 3], 0, &[2, 4, 6], "patch_embed_3d: patch [1, 3, 3] does not divide the volume [2, 4, 6]");
    refused([1, 0, 3], 0, &[2, 4, 6], "patch_embed_3d: patch [1, 0, 3] does not divide the volume [2, 4, 6]");
    refused(patch, 1, &[5, 9], "patch_embed_3d: weight.patch voxels is 9, but patch.patch voxels is 12");
    refused(patch, 2, &[6], "patch_embed_3d: bias.hidden is 6, but weight.hidden is 5");
    refused(patch, 3, &[7, 5], "patch_embed_3d: positions.patches is 7, but volume.patches is 4");
    refused(patch, 4, &[2, 5], "patch_embed_3d: class_token.1 is 2, wanted 1");
    refused(patch, 5, &[4, 5], "patch_embed_3d: out.1 + patches is 4, but volume.1 + patches is 5");
}
