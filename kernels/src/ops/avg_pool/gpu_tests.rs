//! The kernel against the CPU.
use super::AvgPool;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// A sum of n values in eight parts errs by less than n/8 + 8 roundings of the sum of magnitudes, of at most 5 each.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (grids, grid, window, dim)) in (1..).zip([
        (1, [2, 4, 6], [2, 2, 2], 24),
        (3, [1, 4, 4], [1, 2, 2], 7),
        (2, [3, 5, 7], [3, 5, 7], 3),
        (1, [2, 6, 9], [1, 2, 3], 1),
        (1, [2, 2, 2], [2, 2, 2], 768),
        (2, [1, 3, 2], [1, 1, 1], 65),
        (1, [2, 1, 3], [1, 1, 3], 264),
        (1, [1, 63, 2], [1, 1, 2], 64),
        (2, [2, 32, 1], [2, 1, 1], 63),
    ]) {
        let tokens: usize = grids * grid.iter().product::<usize>();
        let parts: usize = window.iter().product();
        let x = numbers(seed, tokens * dim, 5.0);
        let (got, want) = on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[tokens, dim], &x);
            let mut out = rig.poisoned(&[tokens / parts, dim]);
            rig.device.avg_pool(AvgPool { x: x.view(), grid, window, out: out.view_mut() }).expect("valid");
            rig.read(&out)
        });
        let slack = 5.0 * (parts as f64 / 8.0 + 10.0) * 2f64.powi(-24);
        assert_rounds_to(&format!("{grids} of {grid:?} by {window:?}, {dim}"), &got, &want, |_| slack);
    }
}
