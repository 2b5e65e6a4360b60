//! Tests of `rms_qkv_rope_append` on the CPU: the bits of the three ops that it stands for.
use super::RmsQkvRopeAppend;
use crate::ops::{Epilogue, Linear, QkvRopeAppend, RmsNorm};
use crate::testing::*;
use crate::{Device, PAGE_TOKENS, Result, Tensor};

/// x, norm, weight, cos, sin, q, k, v.
type All = [Tensor; 8];

fn run(all: &mut All, positions: &Tensor, table: &Tensor, [heads, kv_heads]: [usize; 2]) -> Result<()> {
    let [x, norm, weight, cos, sin, q, k, v] = all;
    CPU.rms_qkv_rope_append(RmsQkvRopeAppend {
        x: x.view(),
        norm: norm.view(),
        eps: 1e-5,
        weight: weight.view(),
        cos: cos.view(),
        sin: sin.view(),
        positions: positions.view(),
        block_table: table.view(),
        heads,
        kv_heads,
        q: q.view_mut(),
        k_pages: k.view_mut(),
        v_pages: v.view_mut(),
    })
}

fn outputs(rows: usize, [heads, kv_heads, head_dim]: [usize; 3]) -> [Tensor; 3] {
    let pages = [3 * kv_heads, PAGE_TOKENS, head_dim];
    [poisoned(&[rows, heads * head_dim]), poisoned(&pages), poisoned(&pages)]
}

#[test]
fn has_the_bits_of_its_parts() {
    for (seed, rows, inner, [heads, kv_heads, head_dim]) in [(1, 1, 24, [2, 1, 8]), (5, 16, 20, [3, 3, 10])] {
        let columns = (heads + 2 * kv_heads) * head_dim;
        let limit = 76;
        let positions: Vec<u32> = (60..).take(rows).collect();
        let positions = tensor_u32(&positions);
        let table = tensor_u32(&[2, 0]);
        let angles = numbers(seed + 3, limit * head_dim / 2, 3.0);
        let [cos, sin] = [f32::cos, f32::sin].map(|f| angles.iter().map(|&a| f(a)).collect::<Vec<f32>>());
        let inputs = [
            tensor(&[rows, inner], &numbers(seed, rows * inner, 2.0)),
            tensor(&[inner], &numbers(seed + 1, inner, 2.0)),
            tensor(&[columns, inner], &numbers(seed + 2, columns * inner, 0.3)),
            tensor(&[limit, head_dim / 2], &cos),
            tensor(&[limit, head_dim / 2], &sin),
        ];
        let ([mut q, mut k, mut v], mut normed, mut qkv) =
            (outputs(rows, [heads, kv_heads, head_dim]), poisoned(&[rows, inner]), poisoned(&[rows, columns]));
        let [x, norm, weight, cos, sin] = inputs.each_ref().map(Tensor::view);
        CPU.rms_norm(RmsNorm { x, weight: norm, eps: 1e-5, out: normed.view_mut() }).expect("valid");
        let x = normed.view();
        let bias = None;
        let epilogue = Epilogue::None;
        CPU.linear(Linear { x, weight, bias, epilogue, out: qkv.view_mut() }).expect("valid");
        let qkv = qkv.view();
        let positions_view = positions.view();
        let block_table = table.view();
        CPU.qkv_rope_append(QkvRopeAppend {
            qkv,
            cos,
            sin,
            positions: positions_view,
            block_table,
            heads,
            kv_heads,
            q: q.view_mut(),
            k_pages: k.view_mut(),
            v_pages: v.view_mut(),
        })
        .expect("valid");
        let [x, norm, weight, cos, sin] = inputs;
        let [got_q, got_k, got_v] = outputs(rows, [heads, kv_heads, head_dim]);
        let mut all = [x, norm, weight, cos, sin, got_q, got_k, got_v];
        run(&mut all, &positions, &table, [heads, kv_heads]).expect("valid");
        let bits = |tensor: &Tensor| values(tensor).iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        for (got, want) in all[5..].iter().zip([&q, &k, &v]) {
            assert!(bits(got) == bits(want), "seed {seed}");
        }
    }
}

#[test]
fn contract_errors() {
    let good: [&[usize]; 8] = [&[2, 5], &[5], &[20, 5], &[9, 2], &[9, 2], &[2, 12], &[4, 64, 4], &[4, 64, 4]];
    let refused = |part: usize, dims: &[usize], positions: &[u32], text: &str| {
        let mut all = good;
        all[part] = dims;
        let result = run(&mut all.map(poisoned), &tensor_u32(positions), &tensor_u32(&[0]), [3, 1]);
        assert_refused(result, &format!("rms_qkv_rope_append: {text}"));
    };
    refused(0, &[3, 5], &[0, 1], "x.rows is 3, but positions.rows is 2");
    refused(1, &[6], &[0, 1], "norm.in is 6, but x.in is 5");
    refused(2, &[20, 6], &[0, 1], "weight.in is 6, but x.in is 5");
    let text = "weight.(heads + 2·kv_heads)·head_dim is 24, but heads.(heads + 2·kv_heads)·head_dim is 20";
    refused(2, &[24, 5], &[0, 1], text);
    refused(4, &[8, 2], &[0, 1], "sin.positions is 8, but cos.positions is 9");
    refused(5, &[2, 8], &[0, 1], "q.heads·head_dim is 8, but heads.heads·head_dim is 12");
    refused(7, &[4, 32, 4], &[0, 1], "v_pages.page tokens is 32, but page.page tokens is 64");
    let mut many = good;
    (many[0], many[5]) = (&[17, 5], &[17, 12]);
    let result = run(&mut many.map(poisoned), &tensor_u32(&[0; 17]), &tensor_u32(&[0]), [3, 1]);
    assert_refused(result, "rms_qkv_rope_append: x has 17 rows, at most 16 are fused");
}
