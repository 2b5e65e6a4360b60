//! Tests of `slice_max`.
use super::SliceMax;
use crate::Device;
use crate::testing::*;

fn run(dims: [usize; 3], x: &[f32]) -> Vec<f32> {
    let x = tensor(&dims, x);
    let mut out = poisoned(&dims[1..]);
    CPU.slice_max(SliceMax { z_2d_slices: x.view(), out: out.view_mut() }).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    assert_eq!(run([2, 1, 3], &[1.0, -5.0, 0.0, 0.5, -4.0, 0.0]), [1.0, -4.0, 0.0]);
    assert_eq!(run([1, 1, 2], &[-3.0, f32::MIN]), [-3.0, f32::MIN]);
}

#[test]
fn is_exact() {
    for (seed, dims) in (400..).zip([[32, 5, 33], [7, 1, 1], [2, 3, 1024]]) {
        let [slices, tokens, dim] = dims;
        let x = numbers(seed, slices * tokens * dim, 9.0);
        let most = |i: usize| (0..slices).map(|j| x[j * tokens * dim + i]).fold(f32::NEG_INFINITY, f32::max);
        assert_eq!(run(dims, &x), (0..tokens * dim).map(most).collect::<Vec<f32>>());
    }
}

/// A value that is not finite is lost in no slice, the first and the last among them.
#[test]
fn a_value_that_is_not_finite_is_kept() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for slice in 0..3 {
            let mut x = [1.0, 2.0, 3.0, -4.0, 5.0, 6.0];
            x[2 * slice] = value;
            let got = run([3, 1, 2], &x);
            assert!(got[0].is_nan() && got[1] == 6.0, "{value} in slice {slice}: {got:?}");
        }
        assert!(!run([1, 1, 1], &[value])[0].is_finite(), "{value} alone");
    }
}

#[test]
fn contract_errors() {
    let refused = |dims: &[usize], out: &[usize], text: &str| {
        let x = poisoned(dims);
        let mut out = poisoned(out);
        assert_refused(CPU.slice_max(SliceMax { z_2d_slices: x.view(), out: out.view_mut() }), text);
    };
    refused(&[2, 3, 4], &[2, 4], "slice_max: out.tokens is 2, but z_2d_slices.tokens is 3");
    refused(&[2, 3, 4], &[3, 5], "slice_max: out.dim is 5, but z_2d_slices.dim is 4");
    refused(&[0, 3, 4], &[3, 4], "slice_max: no slices");
    refused(&[6, 4], &[6, 4], r#"slice_max: z_2d_slices has dims [6, 4], wanted ["slices", "tokens", "dim"]"#);
}
