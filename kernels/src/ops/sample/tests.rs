//! Tests of `sample` and of its generator.
use super::philox::{philox, uniform};
use super::{Sample, Sampling};
use crate::testing::*;
use crate::{Device, NON_FINITE, Result, Tensor};

fn op(logits: &Tensor, sampling: Sampling, step: u64, out: &mut Tensor) -> Result<()> {
    CPU.sample(Sample { logits: logits.view(), sampling, step, out: out.view_mut() })
}

fn draw(logits: &Tensor, sampling: Sampling, step: u64) -> u32 {
    let mut out = tensor_u32(&[u32::MAX]);
    op(logits, sampling, step, &mut out).expect("valid");
    (&CPU as &dyn Device).read_u32(out.view()).expect("ids")[0]
}

fn logits(values: &[f32]) -> Tensor {
    tensor(&[1, values.len()], values)
}

/// How often each token comes in `draws` draws.
fn counts(logits: &Tensor, sampling: Sampling, draws: u64) -> Vec<f64> {
    let mut counts = vec![0.0; logits.dims().count()];
    for step in 0..draws {
        counts[draw(logits, sampling, step) as usize] += 1.0;
    }
    counts
}

/// A count of n draws has variance n·p·(1 - p); five deviations are passed once in two million. Impossible tokens
/// never come.
fn assert_frequencies(counts: &[f64], probabilities: &[f64]) {
    let draws: f64 = counts.iter().sum();
    for (id, (&count, &p)) in counts.iter().zip(probabilities).enumerate() {
        let bound = 5.0 * (draws * p * (1.0 - p)).sqrt();
        assert!((count - draws * p).abs() <= bound, "token {id}: {count} of {draws}, wanted {p}");
    }
}

const WARM: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0x1234_5678_9abc };

/// The known answers that come with the generator's paper (Random123, philox4x32-10).
#[test]
fn philox_known_answers() {
    assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
}

/// 24 bits of the first word; high halves of seed and step count.
#[test]
fn uniform_uses_seed_and_step() {
    assert_eq!(uniform(0, 0), (0x6627_e8d5u32 >> 8) as f32 / 16_777_216.0);
    let base = uniform(1, 1);
    assert!(
        [(1 << 40 | 1, 1), (1, 1 << 40 | 1), (2, 1), (1, 2)].iter().all(|&(seed, step)| uniform(seed, step) != base)
    );
    // The mean of n draws deviates by 1/√(12 n).
    let mean = (0..10_000).map(|step| f64::from(uniform(3, step))).sum::<f64>() / 1e4;
    assert!((mean - 0.5).abs() < 5.0 / (12.0 * 1e4f64).sqrt(), "{mean}");
}

#[test]
fn greedy_takes_the_first_of_the_largest() {
    assert_eq!(draw(&logits(&[1.0, 3.0, 2.0, 3.0]), Sampling::GREEDY, 0), 1);
    assert_eq!(draw(&logits(&[f32::MIN; 3]), Sampling::GREEDY, 0), 0);
    assert_eq!(draw(&logits(&[-7.0]), WARM, 0), 0);
    let mut many = numbers(500, 32064, 5.0);
    many[31999] = 5.5;
    assert_eq!(draw(&logits(&many), Sampling::GREEDY, 0), 31999);
    assert_eq!(draw(&logits(&many), Sampling { top_k: 1, ..WARM }, 3), 31999);
    assert_eq!(draw(&logits(&many), Sampling { top_p: 1e-6, ..WARM }, 3), 31999);
    assert_eq!(draw(&logits(&many), Sampling { temperature: 1e-30, ..WARM }, 3), 31999);
}

#[test]
fn frequencies_follow_probabilities() {
    let p = [0.05f64, 0.5, 0.15, 0.3];
    let logits = logits(&p.map(|p| p.ln() as f32 + 3.0));
    let check = |sampling, kept: [f64; 4]| {
        let total: f64 = kept.iter().sum();
        assert_frequencies(&counts(&logits, sampling, 20_000), &kept.map(|p| p / total));
    };
    check(WARM, p);
    check(Sampling { seed: 99, ..WARM }, p);
    check(Sampling { temperature: 0.5, ..WARM }, p.map(|p| p * p));
    check(Sampling { temperature: 2.0, ..WARM }, p.map(f64::sqrt));
    check(Sampling { top_k: 2, ..WARM }, [0.0, 0.5, 0.0, 0.3]);
    check(Sampling { top_k: 9, ..WARM }, p);
    check(Sampling { top_p: 0.4, ..WARM }, [0.0, 0.5, 0.0, 0.0]);
    check(Sampling { top_p: 0.75, ..WARM }, [0.0, 0.5, 0.0, 0.3]);
    check(Sampling { top_p: 0.9, ..WARM }, [0.0, 0.5, 0.15, 0.3]);
    // Top-p counts within what top-k left: 5/8 reaches 0.6 alone.
    check(Sampling { top_k: 2, top_p: 0.6, ..WARM }, [0.0, 0.5, 0.0, 0.0]);
    // The temperature comes first: squares give 0.25 of 0.365.
    check(Sampling { temperature: 0.5, top_p: 0.6, ..WARM }, [0.0, 0.5, 0.0, 0.0]);
}

/// Equal logits: the lower ids survive a cut, and come equally often.
#[test]
fn ties_are_ordered_by_id() {
    let logits = logits(&[2.0, 5.0, 5.0, 5.0, 5.0]);
    let two = counts(&logits, Sampling { top_k: 2, ..WARM }, 5_000);
    assert_frequencies(&two, &[0.0, 0.5, 0.5, 0.0, 0.0]);
    let three = counts(&logits, Sampling { top_p: 0.6, ..WARM }, 5_000);
    let third = 1.0 / 3.0;
    assert_frequencies(&three, &[0.0, third, third, third, 0.0]);
}

/// Wherever the logit stands, and however the token is chosen: also where top-k or top-p would never have come to it.
#[test]
fn a_logit_that_is_not_finite_shows_in_the_id() {
    let choices =
        [Sampling::GREEDY, WARM, Sampling { top_k: 1, ..WARM }, Sampling { top_p: 0.1, temperature: 0.1, ..WARM }];
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 2, 6] {
            let mut odd = [1.0, 5.0, 2.0, 0.0, 1.0, 3.0, -1.0];
            odd[at] = value;
            for sampling in choices {
                assert_eq!(draw(&logits(&odd), sampling, 3), NON_FINITE, "{value} at {at}, {sampling:?}");
            }
        }
        for sampling in choices {
            assert_eq!(draw(&logits(&[value; 3]), sampling, 3), NON_FINITE, "nothing but {value}, {sampling:?}");
        }
    }
    assert_eq!(draw(&logits(&[f32::MIN, f32::MAX, f32::MIN_POSITIVE]), WARM, 7), 1, "the largest numbers are finite");
}

#[test]
fn repeats() {
    let logits = logits(&numbers(510, 1000, 2.0));
    let tokens = |seed| (0..50).map(|step| draw(&logits, Sampling { seed, ..WARM }, step)).collect::<Vec<u32>>();
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
}

#[test]
fn contract_errors() {
    let (good, mut out) = (logits(&[0.0; 4]), tensor_u32(&[0]));
    for (sampling, text) in [
        (Sampling { temperature: -1.0, ..WARM }, "sample: temperature is -1, wanted a finite number, 0 or more"),
        (Sampling { temperature: f32::NAN, ..WARM }, "sample: temperature is NaN, wanted a finite number, 0 or more"),
        (
            Sampling { temperature: f32::INFINITY, ..WARM },
            "sample: temperature is inf, wanted a finite number, 0 or more",
        ),
        (Sampling { top_p: 0.0, ..WARM }, "sample: top_p is 0, wanted above 0 and at most 1"),
        (Sampling { top_p: 1.5, ..WARM }, "sample: top_p is 1.5, wanted above 0 and at most 1"),
    ] {
        assert_refused(op(&good, sampling, 0, &mut out), text);
    }
    assert_refused(op(&poisoned(&[2, 4]), WARM, 0, &mut out), "sample: logits.1 is 2, but out.1 is 1");
    assert_refused(op(&poisoned(&[1, 0]), WARM, 0, &mut out), "sample: no logits");
    assert_refused(op(&good, WARM, 0, &mut tensor_u32(&[0; 2])), "sample: out.1 is 2, wanted 1");
    assert_refused(op(&good, WARM, 0, &mut poisoned(&[1])), "sample: out holds F32, wanted U32");
    let result = op(&poisoned(&[4]), WARM, 0, &mut out);
    assert_refused(result, r#"sample: logits has dims [4], wanted ["1", "vocab"]"#);
}
