//! The kernel against the CPU.
use super::RmsQkvRopeAppend;
use crate::PAGE_TOKENS;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Queries, then keys, then values, with NaN where nothing was written. `own` are the rows' positions where each is of
/// a sequence of its own, which has two pages.
fn run(
    rig: &Rig<'_>,
    seed: u32,
    [rows, inner]: [usize; 2],
    [heads, kv_heads, head_dim]: [usize; 3],
    own: Option<&[u32]>,
) -> Vec<f32> {
    let columns = (heads + 2 * kv_heads) * head_dim;
    let limit = 80;
    let half = head_dim / 2;
    let scale = 1.0 / (inner as f32).sqrt();
    let angles = numbers(seed + 3, limit * half, 3.0);
    let [cos, sin] = [f32::cos, f32::sin].map(|f| angles.iter().map(|&a| f(a)).collect::<Vec<f32>>());
    let x = rig.acts(&[rows, inner], &numbers(seed, rows * inner, 2.0));
    let norm = rig.weight(&[inner], &numbers(seed + 1, inner, 2.0));
    let weight = rig.weight(&[columns, inner], &numbers(seed + 2, columns * inner, scale));
    let cos = rig.floats(&[limit, half], &cos);
    let sin = rig.floats(&[limit, half], &sin);
    // The end of page 2 and the beginning of page 0.
    let one: Vec<u32> = (0..rows as u32).map(|row| 58 + row).collect();
    let positions = rig.ids(own.unwrap_or(&one));
    let sequences = if own.is_some() { rows } else { 1 };
    let table: Vec<u32> = (0..sequences as u32).flat_map(|at| [3 * at + 2, 3 * at]).collect();
    let table = rig.ids(&table);
    let block_table = if own.is_some() { table.view().reshape(&[rows, 2]) } else { table.view() };
    let pages = [sequences * 3 * kv_heads, PAGE_TOKENS, head_dim];
    let mut q = rig.poisoned(&[rows, heads * head_dim]);
    let mut k = rig.poisoned(&pages);
    let mut v = rig.poisoned(&pages);
    let op = RmsQkvRopeAppend {
        x: x.view(),
        norm: norm.view(),
        eps: 1e-5,
        weight: weight.view(),
        cos: cos.view(),
        sin: sin.view(),
        positions: positions.view(),
        block_table,
        heads,
        kv_heads,
        q: q.view_mut(),
        k_pages: k.view_mut(),
        v_pages: v.view_mut(),
    };
    rig.device.rms_qkv_rope_append(op).expect("valid");
    [rig.read(&q), rig.read(&k), rig.read(&v)].concat()
}

/// What the GPU gives, once it agrees with the CPU.
///
/// The projection errs as rms_linear's (its test derives 4 · 2^-9 · 4/√27 · √3), the rotation adds two such errors at
/// right angles and two roundings of f32; then half a unit of bf16. The same places stay NaN.
fn agreed(what: &str, case: impl Fn(&Rig<'_>) -> Vec<f32>) -> Vec<f32> {
    let (got, want) = on_gpu_and_cpu(case);
    let slack = 2f64.sqrt() * 4.0 * 2f64.powi(-9) * (4.0 / 27f64.sqrt()) * 3f64.sqrt();
    for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
        let bound = f64::from(want).abs() / 256.0 + slack;
        let near = (f64::from(got) - f64::from(want)).abs() <= bound || (got.is_nan() && want.is_nan());
        assert!(near, "{what}: element {i} is {got}, wanted {want} within {bound}");
    }
    got
}

#[test]
fn agrees_with_the_cpu() {
    let sizes = [
        ([1, 8], [1, 1, 2]),
        ([1, 24], [2, 1, 20]),
        ([3, 20], [2, 2, 24]),
        ([16, 72], [3, 1, 16]),
        ([9, 264], [1, 1, 40]),
        ([2, 40], [1, 1, 96]),
        ([1, 63], [1, 1, 64]),
        ([3, 64], [2, 1, 6]),
        ([16, 65], [1, 1, 10]),
    ];
    for (seed, (sizes, heads)) in (40..).step_by(5).zip(sizes) {
        let got = agreed(&format!("{sizes:?} {heads:?}"), |rig| run(rig, seed, sizes, heads, None));
        let written = got.iter().filter(|v| !v.is_nan()).count();
        assert_eq!(written, sizes[0] * (heads[0] + 2 * heads[1]) * heads[2], "every place once");
    }
}

/// Rows of different sequences: each row's keys and values go to its own pages, wherever the others are.
#[test]
fn sequences_are_apart() {
    let (sizes, [heads, kv_heads, head_dim]) = ([3, 24], [2, 1, 8]);
    let positions = [63u32, 0, 64];
    let got = agreed("own sequences", |rig| run(rig, 90, sizes, [heads, kv_heads, head_dim], Some(&positions)));
    let cache = 9 * kv_heads * PAGE_TOKENS * head_dim;
    let keys = &got[sizes[0] * heads * head_dim..][..cache];
    let rows: Vec<usize> = (0..cache / head_dim).filter(|at| !keys[at * head_dim].is_nan()).collect();
    // Pages 2, 5 and 6: of the sequences' pages [2, 0], [5, 3] and [8, 6], those that hold the positions.
    assert_eq!(rows, [2 * PAGE_TOKENS + 63, 5 * PAGE_TOKENS, 6 * PAGE_TOKENS]);
}
