//! Tests of `log_probs`.
use super::LogProbs;
use crate::testing::*;
use crate::{Device, NON_FINITE, Result, Tensor};

/// Ids of the most likely tokens and all values, row by row.
struct Got {
    top: Vec<u32>,
    out: Vec<f32>,
}

fn op(logits: &Tensor, ids: &Tensor, top: &mut Tensor, out: &mut Tensor) -> Result<()> {
    CPU.log_probs(LogProbs { logits: logits.view(), ids: ids.view(), top: top.view_mut(), out: out.view_mut() })
}

fn run(rows: usize, logits: &[f32], ids: &[u32], ranks: usize) -> Got {
    let count = ids.len() / rows;
    let named = table(rows, count, ids);
    let mut top = table(rows, ranks, &vec![7; rows * ranks]);
    let mut out = poisoned(&[rows, count + ranks]);
    op(&tensor(&[rows, logits.len() / rows], logits), &named, &mut top, &mut out).expect("valid");
    Got { top: (&CPU as &dyn Device).read_u32(top.view()).expect("ids"), out: values(&out) }
}

fn table(rows: usize, columns: usize, values: &[u32]) -> Tensor {
    let device: &dyn Device = &CPU;
    let mut table = device.tensor(&[rows, columns], crate::DType::U32).expect("memory");
    device.write(&mut table, values).expect("sizes agree");
    table
}

#[test]
fn by_hand() {
    // Weights 1, 2, 4 and 1 of 8, then 1 and 1 of 2 beside two that have none.
    let logits = [0.0, 2f32.ln(), 4f32.ln(), 0.0, -800.0, 5.0, 5.0, -900.0];
    let got = run(2, &logits, &[3, 2, 1, 0], 3);
    assert_eq!(got.top, [2, 1, 0, 1, 2, 0]);
    let want = [0.125f64, 0.5, 0.5, 0.25, 0.125].map(f64::ln);
    assert_close("first row", &got.out[..5], &want, 1e-6);
    let half = 0.5f32.ln();
    assert_eq!(got.out[5..], [half, -805.0 + half, half, half, -805.0 + half]);
}

/// Against sums in the order of rising weights, which lose nothing: within one rounding to f32, and all sum to 1.
#[test]
fn agrees_with_f64() {
    for (seed, vocab, size) in [(1, 5, 1.0), (2, 1000, 9.0), (3, 32_064, 5.0)] {
        let logits = numbers(seed, vocab, size);
        let got = run(1, &logits, &[vocab as u32 - 1], vocab);
        let mut weights: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
        weights.sort_unstable_by(f64::total_cmp);
        let log_sum = weights.iter().sum::<f64>().ln();
        let want = |id: u32| f64::from(logits[id as usize]) - log_sum;
        // The rounding to f32 is 2^-24 of the value; sums in f64 err by far less than another 2^-24.
        let near = |got: f32, id: u32| (f64::from(got) - want(id)).abs() <= want(id).abs() * 2f64.powi(-23) + 1e-13;
        assert!(near(got.out[0], vocab as u32 - 1));
        assert!(got.out[1..].iter().zip(&got.top).all(|(&value, &id)| near(value, id)));
        assert!(got.top.windows(2).all(|two| {
            let [a, b] = [two[0], two[1]].map(|id| logits[id as usize]);
            a > b || (a == b && two[0] < two[1])
        }));
        let few = run(1, &logits, &[], 4.min(vocab));
        assert_eq!((few.top.as_slice(), few.out.as_slice()), (&got.top[..4.min(vocab)], &got.out[1..5.min(vocab + 1)]));
    }
}

/// A row gets the bits that it gets alone.
#[test]
fn rows_do_not_matter() {
    let logits = numbers(9, 16 * 300, 4.0);
    let ids: Vec<u32> = (0..16).map(|row| row * 17).collect();
    let all = run(16, &logits, &ids, 5);
    for row in 0..16 {
        let alone = run(1, &logits[row * 300..][..300], &ids[row..=row], 5);
        assert_eq!(alone.top, all.top[row * 5..][..5]);
        assert_eq!(alone.out, all.out[row * 6..][..6]);
    }
}

#[test]
fn what_is_not_there_is_nan() {
    let got = run(1, &[1.0, 2.0], &[0, 2, u32::MAX], 4);
    assert_eq!(got.top, [1, 0, NON_FINITE, NON_FINITE]);
    assert!(got.out[0].is_finite() && got.out[1].is_nan() && got.out[2].is_nan());
    assert!(got.out[3] > got.out[4] && got.out[5].is_nan() && got.out[6].is_nan());
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let got = run(2, &[1.0, odd, 3.0, 1.0, 2.0, 3.0], &[0, 0], 2);
        assert_eq!(got.top, [NON_FINITE, NON_FINITE, 2, 1], "{odd}");
        assert!(got.out[..3].iter().all(|v| v.is_nan()) && got.out[3..].iter().all(|v| v.is_finite()), "{odd}");
    }
    // The largest numbers are finite, though their distance is none of f32's.
    let got = run(1, &[f32::MAX, f32::MIN], &[1], 1);
    assert_eq!((got.top[0], got.out[0], got.out[1]), (0, f32::NEG_INFINITY, 0.0));
    assert!(run(1, &[1.0], &[], 0).out.is_empty());
}

#[test]
fn contract_errors() {
    let logits = tensor(&[2, 3], &[0.0; 6]);
    let ids = table(2, 1, &[0, 0]);
    let mut top = table(2, 2, &[0; 4]);
    let mut out = poisoned(&[2, 3]);
    assert!(op(&logits, &ids, &mut top, &mut out).is_ok());
    assert_refused(op(&poisoned(&[2, 0]), &ids, &mut top, &mut out), "log_probs: no logits");
    assert_refused(op(&poisoned(&[1, 3]), &ids, &mut top, &mut out), "log_probs: ids.rows is 2, but logits.rows is 1");
    let text = "log_probs: out.count + ranks is 4, but ids and top.count + ranks is 3";
    assert_refused(op(&logits, &ids, &mut top, &mut poisoned(&[2, 4])), text);
    let text = "log_probs: top holds F32, wanted U32";
    assert_refused(op(&logits, &ids, &mut poisoned(&[2, 2]), &mut out), text);
    assert_refused(op(&logits, &ids, &mut top, &mut table(2, 3, &[0; 6])), "log_probs: out holds U32, wanted F32");
    let text = "log_probs: ids holds F32, wanted U32";
    assert_refused(op(&logits, &poisoned(&[2, 1]), &mut top, &mut out), text);
}
