//! Tests of `qkv_rope_append`.
use super::QkvRopeAppend;
use crate::testing::*;
use crate::{Device, PAGE_TOKENS, Result, Tensor};

struct Inputs {
    qkv: Tensor,
    angles: [Tensor; 2],
    positions: Tensor,
    table: Tensor,
    heads: [usize; 2],
}

struct Outputs {
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

fn run(inputs: &Inputs, outputs: &mut Outputs) -> Result<()> {
    CPU.qkv_rope_append(QkvRopeAppend {
        qkv: inputs.qkv.view(),
        cos: inputs.angles[0].view(),
        sin: inputs.angles[1].view(),
        positions: inputs.positions.view(),
        block_table: inputs.table.view(),
        heads: inputs.heads[0],
        kv_heads: inputs.heads[1],
        q: outputs.q.view_mut(),
        k_pages: outputs.k.view_mut(),
        v_pages: outputs.v.view_mut(),
    })
}

#[test]
fn worked_by_hand() {
    // A quarter turn at position 1: (a, b) becomes (-b, a). Position 1 lies in page 2.
    let inputs = Inputs {
        qkv: tensor(&[1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        angles: [tensor(&[2, 1], &[1.0, 0.0]), tensor(&[2, 1], &[0.0, 1.0])],
        positions: tensor_u32(&[1]),
        table: tensor_u32(&[2]),
        heads: [1, 1],
    };
    let pages = || poisoned(&[3, PAGE_TOKENS, 2]);
    let mut outputs = Outputs { q: poisoned(&[1, 2]), k: pages(), v: pages() };
    run(&inputs, &mut outputs).expect("valid");
    assert_eq!(values(&outputs.q), [-2.0, 1.0]);
    let at = (2 * PAGE_TOKENS + 1) * 2;
    assert_eq!(values(&outputs.k)[at..at + 2], [-4.0, 3.0]);
    assert_eq!(values(&outputs.v)[at..at + 2], [5.0, 6.0]);
    assert_eq!(values(&outputs.k).iter().filter(|v| !v.is_nan()).count(), 2, "one row is written");
}

/// Two products and a sum: three roundings. Values are copied. Nothing else of the cache changes.
#[test]
fn agrees_with_f64() {
    for (seed, ([heads, kv_heads, head_dim], first, rows)) in
        (480..).step_by(4).zip([([1, 1, 2], 0, 1), ([4, 2, 6], 60, 9), ([32, 32, 96], 127, 2), ([6, 1, 64], 0, 130)])
    {
        let half = head_dim / 2;
        let pages = 5;
        let row = (heads + 2 * kv_heads) * head_dim;
        let qkv = numbers(seed, rows * row, 2.0);
        let limit = first + rows;
        let angles: Vec<f32> = numbers(seed + 1, limit * half, 3.2);
        let [cos, sin]: [Vec<f32>; 2] = [f32::cos, f32::sin].map(|f| angles.iter().map(|&a| f(a)).collect());
        let table: Vec<u32> = (0..limit.div_ceil(PAGE_TOKENS)).map(|i| ((i * 3 + 4) % pages) as u32).collect();
        let positions: Vec<u32> = (first..limit).map(|p| p as u32).collect();
        let inputs = Inputs {
            qkv: tensor(&[rows, row], &qkv),
            angles: [tensor(&[limit, half], &cos), tensor(&[limit, half], &sin)],
            positions: tensor_u32(&positions),
            table: tensor_u32(&table),
            heads: [heads, kv_heads],
        };
        let pages = || poisoned(&[pages * kv_heads, PAGE_TOKENS, head_dim]);
        let mut outputs = Outputs { q: poisoned(&[rows, heads * head_dim]), k: pages(), v: pages() };
        run(&inputs, &mut outputs).expect("valid");
        let q = values(&outputs.q);
        let k = values(&outputs.k);
        let v = values(&outputs.v);
        for (r, position) in (first..limit).enumerate() {
            let turned = |head: usize, got: &[f32]| {
                let x = &qkv[r * row + head * head_dim..][..head_dim];
                for i in 0..half {
                    let [a, b] = [x[i], x[i + half]].map(f64::from);
                    let [c, s] = [cos[position * half + i], sin[position * half + i]].map(f64::from);
                    let bound =
                        3.0 * 2f64.powi(-24) * ((a * c).abs() + (b * s).abs()).max((b * c).abs() + (a * s).abs());
                    assert_within("turned", &[got[i], got[i + half]], &[a * c - b * s, b * c + a * s], |_| bound);
                }
            };
            for head in 0..heads {
                turned(head, &q[(r * heads + head) * head_dim..][..head_dim]);
            }
            for head in 0..kv_heads {
                let page = table[position / PAGE_TOKENS] as usize * kv_heads + head;
                let at = (page * PAGE_TOKENS + position % PAGE_TOKENS) * head_dim;
                turned(heads + head, &k[at..][..head_dim]);
                assert_eq!(v[at..][..head_dim], qkv[r * row + (heads + kv_heads + head) * head_dim..][..head_dim]);
            }
        }
        for cache in [&k, &v] {
            assert_eq!(
                cache.iter().filter(|v| !v.is_nan()).count(),
                rows * kv_heads * head_dim,
                "other rows untouched"
            );
        }
        let mut again = Outputs { q: poisoned(&[rows, heads * head_dim]), k: pages(), v: pages() };
        run(&inputs, &mut again).expect("valid");
        assert_eq!(values(&again.q), q, "repeats");
    }
}

#[test]
fn contract_errors() {
    type Dims<'a> = [&'a [usize]; 6];
    let good: Dims = [&[2, 20], &[9, 2], &[9, 2], &[2, 12], &[4, 64, 4], &[4, 64, 4]];
    let refused = |part: usize, dims: &[usize], positions: &[u32], heads, text: &str| {
        let mut all = good;
        all[part] = dims;
        let [qkv, cos, sin, q, k, v] = all.map(poisoned);
        let positions = tensor_u32(positions);
        let table = tensor_u32(&[0]);
        let inputs = Inputs { qkv, angles: [cos, sin], positions, table, heads };
        assert_refused(run(&inputs, &mut Outputs { q, k, v }), text);
    };
    let two = [0, 1];
    let heads = [3, 1];
    refused(
        0,
        &[2, 24],
        &two,
        heads,
        "qkv_rope_append: qkv.(heads + 2·kv_heads)·head_dim is 24, but heads.(heads + 2·kv_heads)·head_dim is 20",
    );
    refused(0, &[3, 20], &two, heads, "qkv_rope_append: qkv.rows is 3, but positions.rows is 2");
    refused(1, &[9, 3], &two, heads, "qkv_rope_append: cos.head_dim/2 is 3, but head_dim.head_dim/2 is 2");
    refused(2, &[8, 2], &two, heads, "qkv_rope_append: sin.positions is 8, but cos.positions is 9");
    refused(3, &[2, 8], &two, heads, "qkv_rope_append: q.heads·head_dim is 8, but heads.heads·head_dim is 12");
    refused(4, &[4, 32, 4], &two, heads, "qkv_rope_append: k_pages.page tokens is 32, but page.page tokens is 64");
    refused(
        5,
        &[5, 64, 4],
        &two,
        heads,
        "qkv_rope_append: v_pages.pages·kv_heads is 5, but k_pages.pages·kv_heads is 4",
    );
    refused(0, &[2, 20], &[0], heads, "qkv_rope_append: qkv.rows is 2, but positions.rows is 1");
    let odd: Dims = [&[1, 9], &[9, 1], &[9, 1], &[1, 3], &[4, 64, 3], &[4, 64, 3]];
    let [qkv, cos, sin, q, k, v] = odd.map(poisoned);
    let inputs =
        Inputs { qkv, angles: [cos, sin], positions: tensor_u32(&[0]), table: tensor_u32(&[0]), heads: [1, 1] };
    let result = run(&inputs, &mut Outputs { q, k, v });
    assert_refused(result, "qkv_rope_append: head_dim is 3, wanted an even number");
}
