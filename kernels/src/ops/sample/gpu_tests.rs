//! The kernel against the CPU.
use super::philox::uniform;
use super::{Choice, Sample, Sampling};
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{DType, Emulation, Gpu, NON_FINITE, Tensor};
use rayon::prelude::*;

/// Draws of every case; 400 were run once.
const DRAWS: u64 = 40;

const WARM: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, seed: 0x1234_5678_9abc };

fn draw(rig: &Rig<'_>, logits: &Tensor, sampling: Sampling, step: u64) -> u32 {
    let mut out = rig.device.tensor(&[1], DType::U32).expect("memory");
    rig.device.write(&mut out, &[u32::MAX]).expect("sizes agree");
    let choices = rig.ids(&Choice { sampling, step, given: None }.words());
    let choices = choices.view().reshape(&[1, Choice::WORDS]);
    rig.device.sample(Sample { logits: logits.view(), choices, out: out.view_mut() }).expect("valid");
    rig.device.read_u32(out.view()).expect("ids")[0]
}

/// One token under every schedule, and the CPU's.
fn both(logits: &[f32], sampling: Sampling, step: u64) -> [u32; 2] {
    let (got, want) =
        on_gpu_and_cpu(|rig| vec![f32::from_bits(draw(rig, &rig.floats(&[1, logits.len()], logits), sampling, step))]);
    [got[0].to_bits(), want[0].to_bits()]
}

/// Ties, both zeros, one logit alone, the largest numbers, and more tokens than threads.
#[test]
fn greedy_is_exact() {
    let mut many = numbers(9, 32_064, 3.0);
    (many[31_999], many[777]) = (9.5, 9.5);
    for logits in [
        vec![-7.0],
        vec![1.0; 1300],
        vec![-0.0, 0.0, -1.0],
        vec![f32::MIN, f32::MIN],
        vec![f32::MIN, 0.0, f32::MAX, f32::MAX],
        many,
    ] {
        let [got, want] = both(&logits, Sampling::GREEDY, 0);
        assert_eq!(got, want, "{:?} and so on", &logits[..logits.len().min(6)]);
    }
}

/// Draws that do not hang on a rounding: one token holds nearly all, or nothing but ids decides.
#[test]
fn clear_draws_are_exact() {
    let cold = Sampling { temperature: 1e-30, ..WARM };
    let hot = Sampling { temperature: 3e38, ..WARM };
    let top = |top_k, top_p| Sampling { top_k, top_p, ..WARM };
    for (logits, sampling) in [
        (vec![3.0], WARM),
        (vec![1.0; 2053], WARM),
        (vec![1.0; 2053], top(1000, 1.0)),
        (vec![1.0; 700], top(0, 0.5)),
        (vec![1.0; 700], top(900, 1e-9)),
        (vec![0.0, -0.0, 0.0, -0.0, -1.0], top(3, 1.0)),
        (vec![-1e30, 1e30, -2e30, 3e38, -3e38], hot),
        (vec![1.0, 1.0 + f32::EPSILON, 1.0, 1.0], cold),
        (vec![f32::MIN, f32::MAX, f32::MIN], WARM),
        (vec![f32::MIN, f32::MIN], WARM),
        (numbers(5, 5000, 1e-38), WARM),
        (numbers(6, 5000, 8.0), top(1, 1.0)),
        (numbers(7, 5000, 8.0), top(40, 1e-9)),
    ] {
        let [got, want] = both(&logits, sampling, 3);
        assert_eq!(got, want, "{:?} and so on, {sampling:?}", &logits[..logits.len().min(6)]);
    }
}

/// One logit that is not finite, first, last, in a thread's second turn or everywhere: greedy, drawn, and cut so that
/// the draw would never have come to it.
#[test]
fn a_logit_that_is_not_finite_shows_in_the_id() {
    let cut = Sampling { top_k: 5, top_p: 0.5, ..WARM };
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for at in [0, 599, 511, 512] {
            let mut logits = numbers(8, 600, 3.0);
            logits[at] = value;
            for sampling in [Sampling::GREEDY, WARM, cut] {
                assert_eq!(both(&logits, sampling, 2), [NON_FINITE; 2], "{value} at {at}, {sampling:?}");
            }
        }
        assert_eq!(both(&[value; 3], Sampling::GREEDY, 2), [NON_FINITE; 2], "nothing but {value}");
        assert_eq!(both(&[value; 3], WARM, 2), [NON_FINITE; 2], "nothing but {value}, drawn");
    }
}

/// The first of two equal tokens has exactly half of the mass, and the first of four a quarter: no other is kept.
#[test]
fn a_share_that_is_reached_exactly_is_enough() {
    for (step, (count, top_p)) in (0..8).zip([(2, 0.5), (4, 0.25)].into_iter().cycle()) {
        assert_eq!(both(&vec![1.0; count], Sampling { top_p, ..WARM }, step), [0, 0], "step {step}");
    }
}

/// How far the draw, and each cut, is from the nearest boundary between two tokens, as a share of all mass.
fn nearest_boundary(logits: &[f32], sampling: Sampling, step: u64) -> f64 {
    let mut sorted: Vec<f32> = logits.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    sorted.truncate(if sampling.top_k > 0 { sampling.top_k as usize } else { usize::MAX });
    let weight = |logit: &f32| (f64::from(logit - sorted[0]) / f64::from(sampling.temperature)).exp();
    let through: Vec<f64> = sorted
        .iter()
        .map(weight)
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect();
    let total = through[through.len() - 1];
    let nearest = |at: f64| through.iter().map(|sum| (sum - at).abs()).fold(f64::MAX, f64::min) / total;
    let share = f64::from(sampling.top_p) * total;
    let mass = through.iter().copied().find(|&sum| sum >= share).unwrap_or(total);
    let cut = if sampling.top_p < 1.0 { nearest(share) } else { f64::MAX };
    cut.min(nearest(f64::from(uniform(sampling.seed, step)) * mass))
}

/// Weights err by 2^-22 and so does their sum, so that the place of a draw is off by less than 2^-21 of the mass. Any
/// other draw gives the CPU's token. Flat, peaked and wide distributions over 1 to 3000 tokens.
#[test]
fn draws_agree_with_the_cpu() {
    one_gpu(Emulation::default(), draws_agree_on);
}

fn draws_agree_on(gpu: &Gpu) {
    let gpu = Rig { device: gpu };
    let cpu = Rig { device: &crate::testing::CPU };
    let cases = [
        (2, 1.0, WARM),
        (100, 3.0, WARM),
        (100, 4.0, Sampling { top_k: 7, ..WARM }),
        (257, 5.0, Sampling { top_p: 0.9, temperature: 0.7, ..WARM }),
        (600, 0.01, Sampling { top_p: 0.3, ..WARM }),
        (1500, 10.0, Sampling { top_k: 50, top_p: 0.95, temperature: 2.0, ..WARM }),
        (3000, 6.0, Sampling { temperature: 1.3, ..WARM }),
    ];
    let differing: usize = cases
        .par_iter()
        .enumerate()
        .flat_map(|(case, &(vocab, scale, sampling))| {
            (0..DRAWS).into_par_iter().map(move |step| (case as u32, vocab, scale, sampling, step))
        })
        .map(|(case, vocab, scale, sampling, step)| {
            let mut logits = numbers(100 * case + step as u32 % 10, vocab, scale);
            logits[vocab / 2] = logits[0];
            let [got, want] = [&gpu, &cpu].map(|rig| draw(rig, &rig.floats(&[1, vocab], &logits), sampling, step));
            let near = nearest_boundary(&logits, sampling, step);
            assert!(got == want || near < 2f64.powi(-21), "case {case}, step {step}: {got}, wanted {want}, {near:e}");
            usize::from(got != want)
        })
        .sum();
    assert!(differing <= 1, "{differing} draws at boundaries");
}

/// The release's vocabulary under every schedule.
#[test]
fn draws_from_a_whole_vocabulary() {
    let logits = numbers(3, 32_064, 9.0);
    for sampling in [WARM, Sampling { temperature: 0.8, top_k: 40, top_p: 0.9, ..WARM }] {
        let [got, want] = both(&logits, sampling, 1);
        assert!(nearest_boundary(&logits, sampling, 1) > 2f64.powi(-21), "choose another step");
        assert_eq!(got, want, "{sampling:?}");
    }
}

/// Rows of a step, each with a choice of its own: greedy, drawn and given ones, and some that are none.
#[test]
fn rows_choose_for_themselves() {
    let rows = 16;
    let vocab = 600;
    let values = numbers(521, rows * vocab, 4.0);
    let choice = |row: usize| {
        let temperature = [0.0, 1e-30, -1.0, 3e38][row % 4];
        let sampling = Sampling { temperature, top_k: [0, 1][row / 4 % 2], ..WARM };
        let given = (row % 7 == 6).then_some(row as u32);
        Choice { sampling, step: row as u64, given }
    };
    let words: Vec<u32> = (0..rows).flat_map(|row| choice(row).words()).collect();
    let (got, want) = on_gpu_and_cpu(|rig| {
        let logits = rig.floats(&[rows, vocab], &values);
        let choices = rig.ids(&words);
        let mut out = rig.ids(&[7; 16]);
        let choices = choices.view().reshape(&[rows, Choice::WORDS]);
        rig.device.sample(Sample { logits: logits.view(), choices, out: out.view_mut() }).expect("valid");
        rig.device.read_u32(out.view()).expect("ids").into_iter().map(f32::from_bits).collect()
    });
    let ids = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
    // Rows of equal weights, where a rounding could tell, are those at temperature 3e38 without top-k.
    let clear = |ids: Vec<u32>| (0..rows).filter(|row| row % 8 != 3).map(|row| ids[row]).collect::<Vec<u32>>();
    assert_eq!(clear(ids(&got)), clear(ids(&want)));
    assert_eq!(ids(&got)[2], NON_FINITE);
    assert_eq!(ids(&got)[13], 13);
}
