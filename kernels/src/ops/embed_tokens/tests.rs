//! Tests of `embed_tokens`.
use super::EmbedTokens;
use crate::testing::*;
use crate::{Device, Tensor};

fn run(table: &Tensor, ids: &[u32]) -> Vec<f32> {
    let ids = tensor_u32(ids);
    let mut out = poisoned(&[ids.dims().count(), table.dims().as_slice()[1]]);
    CPU.embed_tokens(EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() }).expect("valid");
    values(&out)
}

#[test]
fn worked_by_hand() {
    let table = tensor(&[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(run(&table, &[2, 0, 2]), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    assert!(run(&table, &[]).is_empty());
}

/// Exact for every type, subnormal halves included.
#[test]
fn gathers_exactly() {
    for (seed, dtype) in (360..).zip(WEIGHT_TYPES) {
        let mut numbers = numbers(seed, 50 * 37, 3.0);
        numbers[36 * 37] = 6e-8;
        let (table, rounded) = weight(&[50, 37], dtype, &numbers);
        let ids = [49, 0, 36, 36, 17];
        let want: Vec<f32> = ids.iter().flat_map(|&id| rounded[id as usize * 37..][..37].to_vec()).collect();
        assert_eq!(run(&table, &ids), want, "{dtype:?}");
    }
}

#[test]
fn contract_errors() {
    let refused = |table: &[usize], ids: &Tensor, out: &[usize], text: &str| {
        let table = poisoned(table);
        let mut out = poisoned(out);
        let op = EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() };
        assert_refused(CPU.embed_tokens(op), text);
    };
    let ids = tensor_u32(&[1, 2]);
    refused(&[6], &ids, &[2, 6], r#"embed_tokens: table has dims [6], wanted ["vocab", "hidden"]"#);
    refused(&[3, 6], &ids, &[3, 6], "embed_tokens: out.rows is 3, but ids.rows is 2");
    refused(&[3, 6], &ids, &[2, 5], "embed_tokens: out.hidden is 5, but table.hidden is 6");
    refused(&[3, 6], &poisoned(&[2]), &[2, 6], "embed_tokens: ids holds F32, wanted U32");
}

#[test]
fn ids_outside_the_table_give_nan() {
    let table = tensor(&[2, 1], &[5.0, 7.0]);
    let ids = tensor_u32(&[2, 1, u32::MAX, 0]);
    let mut out = poisoned(&[4, 1]);
    CPU.embed_tokens(EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() }).expect("valid");
    let out = values(&out);
    assert!(out[0].is_nan() && out[1] == 7.0 && out[2].is_nan() && out[3] == 5.0, "{out:?}");
}
