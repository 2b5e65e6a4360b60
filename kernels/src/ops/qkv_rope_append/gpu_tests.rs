//! The kernel against the CPU.
use super::QkvRopeAppend;
use crate::PAGE_TOKENS;
use crate::testing::numbers;
use crate::testing_gpu::*;

/// Physical pages, of which a sequence uses some in a mixed order.
const PAGES: usize = 5;

/// q, k_pages and v_pages, in this order; NaN where nothing was written.
fn run(rig: &Rig<'_>, [heads, kv_heads, head_dim]: [usize; 3], first: usize, rows: usize, seed: u32) -> Vec<f32> {
    let half = head_dim / 2;
    let row = (heads + 2 * kv_heads) * head_dim;
    let limit = first + rows;
    let qkv = rig.acts(&[rows, row], &numbers(seed, rows * row, 2.0));
    let angles = numbers(seed + 1, limit * half, 3.2);
    let [cos, sin] = [f32::cos, f32::sin].map(|f| {
        let values: Vec<f32> = angles.iter().map(|&angle| f(angle)).collect();
        rig.floats(&[limit, half], &values)
    });
    let positions: Vec<u32> = (first as u32..limit as u32).collect();
    let positions = rig.ids(&positions);
    let table: Vec<u32> = (0..limit.div_ceil(PAGE_TOKENS)).map(|i| ((i * 3 + 4) % PAGES) as u32).collect();
    let table = rig.ids(&table);
    let mut q = rig.poisoned(&[rows, heads * head_dim]);
    let [mut k, mut v] = [(); 2].map(|()| rig.poisoned(&[PAGES * kv_heads, PAGE_TOKENS, head_dim]));
    let op = QkvRopeAppend {
        qkv: qkv.view(),
        cos: cos.view(),
        sin: sin.view(),
        positions: positions.view(),
        block_table: table.view(),
        heads,
        kv_heads,
        q: q.view_mut(),
        k_pages: k.view_mut(),
        v_pages: v.view_mut(),
    };
    rig.device.qkv_rope_append(op).expect("valid");
    [&q, &k, &v].into_iter().flat_map(|tensor| rig.read(tensor)).collect()
}

/// Both sides compute from the same bf16 and f32 numbers; each makes three roundings of products up to 2, or two where
/// a product is fused into the sum. What one leaves untouched, so does the other.
#[test]
fn agrees_with_the_cpu() {
    for (seed, (heads, first, rows)) in (1..).zip([
        ([1, 1, 2], 0, 1),
        ([4, 2, 6], 60, 9),
        ([32, 32, 96], 127, 2),
        ([6, 1, 64], 0, 70),
        ([4, 1, 20], 63, 1),
        ([6, 2, 24], 128, 65),
        ([2, 2, 128], 62, 5),
        ([3, 1, 80], 64, 3),
    ]) {
        let (got, want) = on_gpu_and_cpu(|rig| run(rig, heads, first, rows, seed * 10));
        let written = |values: &[f32]| values.iter().map(|v| !v.is_nan()).collect::<Vec<bool>>();
        assert_eq!(written(&got), written(&want), "{heads:?} at {first}: what is written");
        let [got, want] = [got, want].map(|all| all.into_iter().filter(|v| !v.is_nan()).collect::<Vec<f32>>());
        assert_rounds_to(&format!("{heads:?} at {first}"), &got, &want, |_| 6.0 * 4.0 * 2f64.powi(-24));
    }
}

/// Values are copied, bit for bit.
#[test]
fn values_are_copied() {
    let heads = 2;
    let kv_heads = 2;
    let head_dim = 32;
    let rows = 3;
    let (got, _) = on_gpu_and_cpu(|rig| run(rig, [heads, kv_heads, head_dim], 0, rows, 7));
    let qkv = rounded(&numbers(7, rows * 6 * head_dim, 2.0));
    let v_pages = &got[got.len() - PAGES * kv_heads * PAGE_TOKENS * head_dim..];
    for (row, head) in (0..rows).flat_map(|row| (0..kv_heads).map(move |head| (row, head))) {
        // Logical page 0 is page 4.
        let at = ((4 * kv_heads + head) * PAGE_TOKENS + row) * head_dim;
        assert_eq!(v_pages[at..][..head_dim], qkv[(row * 6 + heads + kv_heads + head) * head_dim..][..head_dim]);
    }
}
