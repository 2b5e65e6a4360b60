//! The kernel against the CPU.
use super::LogProbs;
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{DType, Tensor};

fn table(rig: &Rig<'_>, rows: usize, columns: usize, values: &[u32]) -> Tensor {
    let mut table = rig.device.tensor(&[rows, columns], DType::U32).expect("memory");
    rig.device.write(&mut table, values).expect("sizes agree");
    table
}

/// The ids of the most likely tokens as numbers, then all values.
fn run(rig: &Rig<'_>, rows: usize, logits: &[f32], ids: &[u32], ranks: usize) -> Vec<f32> {
    let count = ids.len() / rows;
    let named = table(rig, rows, count, ids);
    let mut top = table(rig, rows, ranks, &vec![7; rows * ranks]);
    let mut out = rig.poisoned_floats(&[rows, count + ranks]);
    let logits = rig.floats(&[rows, logits.len() / rows], logits);
    let op = LogProbs { logits: logits.view(), ids: named.view(), top: top.view_mut(), out: out.view_mut() };
    rig.device.log_probs(op).expect("valid");
    let top = rig.device.read_u32(top.view()).expect("ids");
    top.into_iter().map(f32::from_bits).chain(rig.read(&out)).collect()
}

fn check(what: &str, rows: usize, logits: &[f32], ids: &[u32], ranks: usize) {
    let (got, want) = on_gpu_and_cpu(|rig| run(rig, rows, logits, ids, ranks));
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    let ranked = rows * ranks;
    assert_eq!(bits(&got[..ranked]), bits(&want[..ranked]), "{what}: ids");
    for (at, (got, want)) in got[ranked..].iter().zip(&want[ranked..]).enumerate() {
        // Sums in f64 in another order: the value rounds to the same f32 or to its neighbour.
        let near = (f64::from(*got) - f64::from(*want)).abs() <= f64::from(want.abs()) * 2f64.powi(-23) + 1e-13;
        assert!(
            near || got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{what}: {at}: {got} {want}"
        );
    }
}

/// Fewer tokens than threads and more, ties, both zeros, distances beyond f32, more ranks than tokens, no ranks.
#[test]
fn agrees_with_the_cpu() {
    check("one token", 1, &[-7.0], &[0], 3);
    check("ties", 2, &vec![1.0; 2 * 1300], &[0, 1299, 5, 6], 9);
    check("zeros", 1, &[-0.0, 0.0, -0.0, 0.0, -1.0], &[2], 5);
    check("far apart", 1, &[f32::MAX, f32::MIN, 0.0], &[1, 0, 2], 3);
    check("ids outside", 1, &[1.0, 2.0], &[2, u32::MAX, 1], 1);
    check("no ranks", 3, &numbers(4, 3 * 600, 6.0), &[1, 599, 3], 0);
    check("nothing named", 1, &numbers(5, 700, 6.0), &[], 40);
    check("flat", 1, &numbers(6, 5000, 1e-38), &[17], 20);
}

/// Rows that are not finite, wherever and whatever the logit, beside one that is.
#[test]
fn rows_that_are_not_finite_are_nan() {
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 511, 512, 599] {
            let mut logits = numbers(8, 2 * 600, 3.0);
            logits[at] = value;
            check(&format!("{value} at {at}"), 2, &logits, &[3, 4], 2);
        }
    }
}

/// The release's vocabulary in all rows of a step.
#[test]
fn a_whole_vocabulary() {
    let mut logits = numbers(3, 16 * 32_064, 9.0);
    for row in 0..16 {
        // The four best of a row are one thread's, two of them equal.
        for (at, value) in [(0, 12.0), (512, 11.0), (1024, 11.0), (1536, 10.0)] {
            logits[row * 32_064 + at] = value;
        }
    }
    let ids: Vec<u32> = (0..16).map(|row| row * 2000).collect();
    let (got, want) = once_on_gpu_and_cpu(|rig| run(rig, 16, &logits, &ids, 20));
    assert_eq!(got[..4].iter().map(|id| id.to_bits()).collect::<Vec<_>>(), [0, 512, 1024, 1536]);
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    assert_eq!(bits(&got[..320]), bits(&want[..320]));
    assert!(got[320..].iter().zip(&want[320..]).all(|(a, b)| (a - b).abs() <= b.abs() * 2f32.powi(-23)));
}
