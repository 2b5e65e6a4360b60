//! Tests of `avg_pool`.
use super::AvgPool;
use crate::Device;
use crate::testing::*;

fn run(x: &[f32], dim: usize, grid: [usize; 3], window: [usize; 3]) -> Vec<f32> {
    let means = x.len() / dim / window.iter().product::<usize>();
    let x = tensor(&[x.len() / dim, dim], x);
    let mut out = poisoned(&[means, dim]);
    CPU.avg_pool(AvgPool { x: x.view(), grid, window, out: out.view_mut() }).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    let x: Vec<f32> = (0..16).map(|v| v as f32).collect();
    assert_eq!(run(&x, 1, [1, 4, 4], [1, 2, 2]), [2.5, 4.5, 10.5, 12.5]);
    assert_eq!(run(&x, 2, [2, 2, 2], [2, 1, 2]), [5.0, 6.0, 9.0, 10.0]);
    assert_eq!(run(&x, 2, [2, 2, 2], [1, 1, 1]), x);
    assert_eq!(run(&x, 4, [4, 1, 1], [4, 1, 1]), [6.0, 7.0, 8.0, 9.0]);
}

/// Sums are f64: one rounding of the result, and an ulp of f64 that may tip it.
#[test]
fn agrees_with_f64() {
    for (seed, (grids, grid, window, dim)) in (340..).zip([
        (1, [8, 16, 16], [2, 2, 2], 24),
        (3, [1, 16, 16], [1, 2, 2], 7),
        (2, [3, 5, 7], [3, 5, 7], 3),
        (1, [2, 6, 9], [1, 2, 3], 1),
    ]) {
        let [depth, height, width] = grid;
        let x = numbers(seed, grids * depth * height * width * dim, 5.0);
        let mut want = vec![0f64; x.len() / window.iter().product::<usize>()];
        let pooled = [0, 1, 2].map(|axis| grid[axis] / window[axis]);
        for (i, &value) in x.iter().enumerate() {
            let token = i / dim;
            let column = i % dim;
            let at = [token / (height * width) % depth, token / width % height, token % width];
            let cell = [0, 1, 2].map(|axis| at[axis] / window[axis]);
            let grid = token / (depth * height * width);
            let cell = ((grid * pooled[0] + cell[0]) * pooled[1] + cell[1]) * pooled[2] + cell[2];
            want[cell * dim + column] += f64::from(value) / window.iter().product::<usize>() as f64;
        }
        let got = run(&x, dim, grid, window);
        assert_within("means", &got, &want, |i| 1.01 * 2f64.powi(-24) * want[i].abs().max(1e-6));
        assert_eq!(got, run(&x, dim, grid, window), "repeats");
    }
}

#[test]
fn contract_errors() {
    let refused = |grid, window, out: &[usize], text: &str| {
        let x = poisoned(&[16, 3]);
        let mut out = poisoned(out);
        assert_refused(CPU.avg_pool(AvgPool { x: x.view(), grid, window, out: out.view_mut() }), text);
    };
    refused([1, 4, 4], [1, 3, 2], &[4, 3], "avg_pool: window [1, 3, 2] does not divide the grid [1, 4, 4]");
    refused([1, 4, 4], [1, 0, 2], &[4, 3], "avg_pool: window [1, 0, 2] does not divide the grid [1, 4, 4]");
    refused([0, 4, 4], [1, 2, 2], &[4, 3], "avg_pool: window [1, 2, 2] does not divide the grid [0, 4, 4]");
    refused([1, 3, 3], [1, 3, 3], &[4, 3], "avg_pool: 16 tokens do not fill grids [1, 3, 3]");
    refused([1, 4, 4], [1, 2, 2], &[5, 3], "avg_pool: out.means is 5, but window.means is 4");
    refused([1, 4, 4], [1, 2, 2], &[4, 2], "avg_pool: out.dim is 2, but x.dim is 3");
}
