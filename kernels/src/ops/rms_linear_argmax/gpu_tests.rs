//! The kernels against the logits that the same device gives, and against the CPU where the winner is clear.
use super::{RmsLinearArgmax, candidates};
use crate::ops::{Epilogue, RmsLinear};
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{DType, NON_FINITE, Result, Tensor};

/// The largest number of bf16, halved: the product with a norm of nearly 1 stays finite.
const LARGEST: f32 = 1.694_738_5e38;
const EPS: f32 = 1e-5;

/// The chosen ids; `scratch` and `out` hold other ids before.
pub(crate) fn chosen(rig: &Rig<'_>, x: &Tensor, norm: &Tensor, weight: &Tensor) -> Result<Vec<u32>> {
    let rows = x.dims().as_slice()[0];
    let vocab = weight.dims().as_slice()[0];
    let mut scratch = rig.device.tensor(&[rows, candidates(vocab)], DType::U32)?;
    rig.device.write(&mut scratch, &vec![u32::MAX; rows * candidates(vocab)])?;
    let mut out = rig.ids(&vec![u32::MAX; rows]);
    rig.device.rms_linear_argmax(RmsLinearArgmax {
        x: x.view(),
        norm: norm.view(),
        eps: EPS,
        weight: weight.view(),
        scratch: scratch.view_mut(),
        out: out.view_mut(),
    })?;
    rig.device.read_u32(out.view())
}

/// The chosen ids, then the device's own logits.
fn run(rig: &Rig<'_>, [x, norm, weight]: [&Tensor; 3]) -> [Vec<f32>; 2] {
    let ids = chosen(rig, x, norm, weight).expect("valid");
    let mut logits = rig.poisoned_floats(&[ids.len(), weight.dims().as_slice()[0]]);
    rig.device
        .rms_linear(RmsLinear {
            x: x.view(),
            norm: norm.view(),
            eps: EPS,
            weight: weight.view(),
            epilogue: Epilogue::None,
            out: logits.view_mut(),
        })
        .expect("valid");
    [ids.into_iter().map(|id| id as f32).collect(), rig.read(&logits)]
}

/// The lowest of the largest; `NON_FINITE` where any logit is NaN or infinite.
fn argmax(logits: &[f32]) -> f32 {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return NON_FINITE as f32;
    }
    let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == best).expect("there are logits") as f32
}

/// The logits have rms_linear's bits, so the choice follows from them exactly.
#[test]
fn chooses_what_its_own_logits_give() {
    for (seed, rows, inner, vocab) in [
        (1, 1, 8, 1),
        (2, 3, 20, 33),
        (3, 16, 24, 250),
        (4, 9, 136, 47),
        (5, 1, 8, 4200),
        (6, 2, 64, 63),
        (7, 1, 63, 64),
        (8, 16, 65, 65),
    ] {
        on_gpu_and_cpu(|rig| {
            let x = rig.acts(&[rows, inner], &numbers(seed, rows * inner, 3.0));
            let norm = rig.weight(&[inner], &numbers(seed + 10, inner, 2.0));
            let weight = rig.weight(&[vocab, inner], &numbers(seed + 20, vocab * inner, 0.5));
            let [ids, logits] = run(rig, [&x, &norm, &weight]);
            let want: Vec<f32> = logits.chunks_exact(vocab).map(argmax).collect();
            assert_eq!(ids, want, "{rows} x {inner} x {vocab}");
            ids
        });
    }
}

/// Equal logits in one tile, in two tiles and in two blocks. NaN and infinities before and behind the largest logit, in
/// its tile, its block and others, alone, as the first, as the last and as all logits; the largest finite numbers.
#[test]
fn ties_and_logits_that_are_not_finite() {
    let vocab = 70;
    let row_of = |values: &[(usize, f32)], rest: f32| {
        let mut logits = vec![rest; vocab];
        values.iter().for_each(|&(id, value)| logits[id] = value);
        logits
    };
    let infinity = f32::INFINITY;
    let bad = NON_FINITE as f32;
    let cases = [
        (row_of(&[(3, 2.0), (5, 2.0)], 1.0), 3.0),
        (row_of(&[(7, 2.0), (9, 2.0)], -1.0), 7.0),
        (row_of(&[(69, 2.0), (40, 2.0), (41, 2.0)], 1.0), 40.0),
        (row_of(&[(0, f32::NAN), (20, 2.0), (21, f32::NAN), (50, f32::NAN)], 1.0), bad),
        (row_of(&[(69, f32::NAN)], 1.0), bad),
        (row_of(&[(0, -f32::NAN)], 1.0), bad),
        (row_of(&[], f32::NAN), bad),
        (row_of(&[(69, -3.0)], -infinity), bad),
        (row_of(&[(33, -infinity)], 1.0), bad),
        (row_of(&[(17, infinity), (40, 2.0)], 1.0), bad),
        (row_of(&[(5, infinity), (6, -infinity), (68, f32::NAN)], -1.0), bad),
        (row_of(&[], -1.0), 0.0),
        (row_of(&[(9, LARGEST)], -LARGEST), 9.0),
        (row_of(&[], -LARGEST), 0.0),
    ];
    for (logits, want) in cases {
        let (got, cpu) = on_gpu_and_cpu(|rig| {
            // One input of 1, whose norm is 1 within eps: the logits are the weights.
            let x = rig.acts(&[1, 1], &[1.0]);
            let norm = rig.weight(&[1], &[1.0]);
            let [ids, _] = run(rig, [&x, &norm, &rig.weight(&[vocab, 1], &logits)]);
            ids
        });
        assert_eq!((got, cpu), (vec![want], vec![want]), "{logits:?}");
    }
}
