//! The kernels against the CPU.
use super::RmsLinear;
use crate::ops::Epilogue;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// The GPU rounds x · norm to bf16, an error of 2^-9 of each product; errors have no common sign, so four times the
/// root of Σ(x·norm·w)² bounds their sum, for uniform numbers of these sizes 4 · 2^-9 · √(inner) · 2·2·scale/√27 of the
/// normed x, whose root mean square is 1 and whose largest is √3. In a gated product each factor's error meets the
/// other, below 8. Sums, the root and the epilogue add 2^-18 of the same. Then half a unit of bf16, or nothing.
#[test]
fn agrees_with_the_cpu() {
    let sizes = [
        [1, 8, 8],
        [1, 1, 1],
        [3, 20, 17],
        [16, 72, 24],
        [9, 264, 9],
        [2, 1160, 16],
        [1, 63, 65],
        [5, 64, 63],
        [16, 65, 64],
    ];
    for (index, [rows, inner, columns]) in sizes.into_iter().enumerate() {
        for (epilogue, floats) in [(Epilogue::None, true), (Epilogue::SwiGlu, false)] {
            // Small numbers make eps most of the root, large ones nothing of it.
            let seed = 10 * index as u32;
            let size = [1.0, 1e-3, 1e4][index % 3];
            let weight_rows = columns << usize::from(epilogue == Epilogue::SwiGlu);
            let scale = 1.0 / (inner as f32).sqrt();
            let (got, want) = on_gpu_and_cpu(|rig| {
                let x = rig.acts(&[rows, inner], &numbers(seed, rows * inner, size));
                let norm = rig.weight(&[inner], &numbers(seed + 1, inner, 2.0));
                let weight = rig.weight(&[weight_rows, inner], &numbers(seed + 2, weight_rows * inner, scale));
                let dims = [rows, columns];
                let mut out = if floats { rig.poisoned_floats(&dims) } else { rig.poisoned(&dims) };
                let x = x.view();
                let norm = norm.view();
                let weight = weight.view();
                let op = RmsLinear { x, norm, eps: 1e-5, weight, epilogue, out: out.view_mut() };
                rig.device.rms_linear(op).expect("valid");
                rig.read(&out)
            });
            let sum = 4.0 * 2f64.powi(-9) * (4.0 / 27f64.sqrt()) * 3f64.sqrt();
            let slack = if floats { sum } else { 8.0 * sum };
            for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
                let half = if floats { 0.0 } else { f64::from(want).abs() / 256.0 };
                let error = (f64::from(got) - f64::from(want)).abs();
                assert!(
                    error <= half + slack,
                    "{rows} x {inner} x {columns} {epilogue:?}: element {i} is {got}, wanted {want} within {slack}"
                );
            }
        }
    }
}

/// Where the rounding of x · norm is exact, the sums are f32's: powers of two, and one row whose root is 2.
#[test]
fn powers_of_two_are_exact() {
    let (got, want) = on_gpu_and_cpu(|rig| {
        let x = rig.acts(&[2, 40], &[[2.0f32, -2.0], [4.0, 4.0]].map(|pair| pair.repeat(20)).concat());
        let norm = rig.weight(&[40], &[1.0, 0.5, -2.0, 4.0].repeat(10));
        let weight = rig.weight(&[19, 40], &numbers(77, 19 * 40, 1.0));
        let mut out = rig.poisoned_floats(&[2, 19]);
        let x = x.view();
        let norm = norm.view();
        let weight = weight.view();
        let op = RmsLinear { x, norm, eps: 0.0, weight, epilogue: Epilogue::None, out: out.view_mut() };
        rig.device.rms_linear(op).expect("valid");
        rig.read(&out)
    });
    // Forty products of at most 4 in f32.
    assert!(got.iter().zip(&want).all(|(got, want)| (got - want).abs() <= 160.0 * 2f32.powi(-22)), "{got:?} {want:?}");
}
