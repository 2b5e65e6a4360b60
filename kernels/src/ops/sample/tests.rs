//! Tests of `sample` and of its generator.
use super::philox::{philox, uniform};
use super::{Choice, Sample, Sampling};
use crate::testing::*;
use crate::{Device, NON_FINITE, Result, Tensor};

fn op(logits: &Tensor, choices: &[Choice], out: &mut Tensor) -> Result<()> {
    let words = tensor_u32(&choices.iter().flat_map(Choice::words).collect::<Vec<u32>>());
    let choices = words.view().reshape(&[choices.len(), Choice::WORDS]);
    CPU.sample(Sample { logits: logits.view(), choices, out: out.view_mut() })
}

fn draw_all(logits: &Tensor, choices: &[Choice]) -> Vec<u32> {
    let mut out = tensor_u32(&vec![7; choices.len()]);
    op(logits, choices, &mut out).expect("valid");
    (&CPU as &dyn Device).read_u32(out.view()).expect("ids")
}

fn draw(logits: &Tensor, sampling: Sampling, step: u64) -> u32 {
    draw_all(logits, &[Choice { sampling, step, given: None }])[0]
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

/// Every row has a choice of its own, and gets the token that it gets alone.
#[test]
fn rows_choose_for_themselves() {
    let rows = 16;
    let vocab = 200;
    let logits = tensor(&[rows, vocab], &numbers(520, rows * vocab, 4.0));
    let choice = |row: usize| {
        let sampling = if row.is_multiple_of(3) { Sampling::GREEDY } else { Sampling { seed: row as u64, ..WARM } };
        let sampling = Sampling { top_k: (row % 5) as u32 * 7, ..sampling };
        Choice { sampling, step: 1 << (3 * row), given: (row % 7 == 6).then_some(row as u32) }
    };
    let choices: Vec<Choice> = (0..rows).map(choice).collect();
    assert!(choices.iter().all(|choice| Choice::of_words(&choice.words()) == *choice));
    let all = draw_all(&logits, &choices);
    for row in 0..rows {
        let alone = tensor(&[1, vocab], &numbers(520, rows * vocab, 4.0)[row * vocab..][..vocab]);
        assert_eq!(draw_all(&alone, &choices[row..=row]), all[row..=row], "row {row}");
    }
    assert_eq!((all[6], all[13]), (6, 13), "given");
}

/// No token comes of a choice that is none, nor of logits that are not finite, though the caller gives one.
#[test]
fn faults_show_in_the_id() {
    let faults = [
        Sampling { temperature: -1.0, ..WARM },
        Sampling { temperature: f32::NAN, ..WARM },
        Sampling { temperature: f32::INFINITY, ..WARM },
        Sampling { top_p: 0.0, ..WARM },
        Sampling { top_p: 1.5, ..WARM },
        Sampling { top_p: f32::NAN, ..Sampling::GREEDY },
    ];
    for sampling in faults {
        assert!(sampling.fault().is_some());
        assert_eq!(draw(&logits(&[1.0, 2.0]), sampling, 0), NON_FINITE, "{sampling:?}");
    }
    let given = |values: &[f32]| draw_all(&logits(values), &[Choice { sampling: WARM, step: 0, given: Some(1) }]);
    assert_eq!((given(&[3.0, 1.0]), given(&[f32::NAN, 1.0])), (vec![1], vec![NON_FINITE]));
}

#[test]
fn contract_errors() {
    let good = logits(&[0.0; 4]);
    let choice = Choice { sampling: WARM, step: 0, given: None };
    let mut out = tensor_u32(&[0]);
    assert_refused(op(&poisoned(&[2, 4]), &[choice], &mut out), "sample: choices.rows is 1, but logits.rows is 2");
    assert_refused(op(&poisoned(&[1, 0]), &[choice], &mut out), "sample: no logits");
    assert_refused(op(&good, &[choice], &mut tensor_u32(&[0; 2])), "sample: out.rows is 2, but logits.rows is 1");
    assert_refused(op(&good, &[choice], &mut poisoned(&[1])), "sample: out holds F32, wanted U32");
    let result = op(&poisoned(&[4]), &[choice], &mut out);
    assert_refused(result, r#"sample: logits has dims [4], wanted ["rows", "vocab"]"#);
    let words = tensor_u32(&[0; 7]);
    let short = Sample { logits: good.view(), choices: words.view().reshape(&[1, 7]), out: out.view_mut() };
    assert_refused(CPU.sample(short), "sample: choices.words is 7, wanted 8");
}
