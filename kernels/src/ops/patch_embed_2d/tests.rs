//! Tests of `patch_embed_2d`.
use super::PatchEmbed2d;
use crate::testing::*;
use crate::{Device, Result, Tensor};

fn run(volume: &Tensor, patch: usize, parts: [&Tensor; 3], out: &mut Tensor) -> Result<()> {
    let [weight, bias, positions] = parts.map(Tensor::view);
    CPU.patch_embed_2d(PatchEmbed2d { volume: volume.view(), patch, weight, bias, positions, out: out.view_mut() })
}

#[test]
fn worked_by_hand() {
    // One slice of 2 x 4: patches (1 2 / 5 6) and (3 4 / 7 8).
    let volume = tensor(&[1, 2, 4], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    let weight = tensor(&[1, 4], &[1.0, 10.0, 100.0, 1000.0]);
    let mut out = poisoned(&[2, 1]);
    let parts = [&weight, &tensor(&[1], &[0.5]), &tensor(&[2, 1], &[0.0, 20000.0])];
    run(&volume, 2, parts, &mut out).expect("valid");
    assert_eq!(values(&out), [6521.5, 28743.5]);
}

/// At most 257 roundings of partial sums, as `linear`'s tests argue, and two for bias and position.
#[test]
fn agrees_with_f64() {
    for (index, (slices, grid, patch, hidden)) in
        [(1, [1, 1], 1, 1), (3, [4, 2], 3, 17), (2, [16, 16], 16, 40)].into_iter().enumerate()
    {
        let seed = 440 + 4 * index as u32;
        let dtype = WEIGHT_TYPES[index];
        let height = grid[0] * patch;
        let width = grid[1] * patch;
        let voxels = patch * patch;
        let volume: Vec<f32> = numbers(seed, slices * height * width, 0.5).iter().map(|v| v + 0.5).collect();
        let (weight, w) = weight(&[hidden, voxels], dtype, &numbers(seed + 1, hidden * voxels, 0.2));
        let (bias, b) = crate::testing::weight(&[hidden], dtype, &numbers(seed + 2, hidden, 1.0));
        let patches = grid[0] * grid[1];
        let rows = numbers(seed + 3, patches * hidden, 1.0);
        let (positions, p) = crate::testing::weight(&[patches, hidden], dtype, &rows);
        let mut want = Vec::new();
        let mut size = Vec::new();
        for (row, o) in (0..slices * patches).flat_map(|row| (0..hidden).map(move |o| (row, o))) {
            let slice = row / patches;
            let cell = row % patches;
            let terms = (0..voxels).map(|i| {
                let y = cell / grid[1] * patch + i / patch;
                let x = cell % grid[1] * patch + i % patch;
                f64::from(volume[(slice * height + y) * width + x]) * f64::from(w[o * voxels + i])
            });
            let terms: Vec<f64> = terms.chain([f64::from(b[o]), f64::from(p[cell * hidden + o])]).collect();
            want.push(terms.iter().sum::<f64>());
            size.push(terms.iter().map(|t| t.abs()).sum::<f64>());
        }
        let embed = || {
            let mut out = poisoned(&[slices * patches, hidden]);
            let volume = tensor(&[slices, height, width], &volume);
            run(&volume, patch, [&weight, &bias, &positions], &mut out).expect("valid");
            values(&out)
        };
        let roundings = 4.0 * (voxels as f64 + 3.0).sqrt();
        assert_within("tokens", &embed(), &want, |i| roundings * 2f64.powi(-24) * size[i]);
        assert_eq!(embed(), embed(), "repeats");
    }
}

#[test]
fn contract_errors() {
    let good: [&[usize]; 5] = [&[2, 4, 6], &[5, 4], &[5], &[6, 5], &[12, 5]];
    let refused = |patch, part: usize, dims: &[usize], text: &str| {
        let mut all = good;
        all[part] = dims;
        let [volume, weight, bias, positions, mut out] = all.map(poisoned);
        assert_refused(run(&volume, patch, [&weight, &bias, &positions], &mut out), text);
    };
    refused(3, 0, &[2, 4, 6], "patch_embed_2d: patch 3 does not divide a slice of 4 x 6");
    refused(0, 0, &[2, 4, 6], "patch_embed_2d: patch 0 does not divide a slice of 4 x 6");
    refused(2, 0, &[4, 6], r#"patch_embed_2d: volume has dims [4, 6], wanted ["slices", "height", "width"]"#);
    refused(2, 1, &[5, 9], "patch_embed_2d: weight.patch·patch is 9, but patch.patch·patch is 4");
    refused(2, 2, &[6], "patch_embed_2d: bias.hidden is 6, but weight.hidden is 5");
    refused(2, 3, &[7, 5], "patch_embed_2d: positions.patches is 7, but volume.patches is 6");
    refused(2, 4, &[13, 5], "patch_embed_2d: out.slices·patches is 13, but volume.slices·patches is 12");
    let (half, _) = weight(&[2, 4, 6], crate::DType::F16, &[0.0; 48]);
    let [_, weight, bias, positions, mut out] = good.map(poisoned);
    let result = run(&half, 2, [&weight, &bias, &positions], &mut out);
    assert_refused(result, "patch_embed_2d: volume holds F16, wanted F32");
}
