//! The kernels against the logits that the same device gives, and against the CPU where the winner is clear.
use super::{RmsLinearArgmax, candidates};
use crate::ops::{Epilogue, RmsLinear};
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{DType, Tensor};

/// The chosen ids, then the device's own logits.
fn run(rig: &Rig<'_>, [x, norm, weight]: [&Tensor; 3]) -> [Vec<f32>; 2] {
    let (rows, vocab) = (x.dims().as_slice()[0], weight.dims().as_slice()[0]);
    let mut scratch = rig.device.tensor(&[rows, candidates(vocab)], DType::U32).expect("test memory");
    rig.device.write(&mut scratch, &vec![u32::MAX; rows * candidates(vocab)]).expect("sizes agree");
    let mut out = rig.ids(&vec![u32::MAX; rows]);
    let mut logits = rig.poisoned_floats(&[rows, vocab]);
    let (x, norm, weight, eps) = (x.view(), norm.view(), weight.view(), 1e-5);
    let (room, chosen) = (scratch.view_mut(), out.view_mut());
    rig.device.rms_linear_argmax(RmsLinearArgmax { x, norm, eps, weight, scratch: room, out: chosen }).expect("valid");
    let op = RmsLinear { x, norm, eps, weight, epilogue: Epilogue::None, out: logits.view_mut() };
    rig.device.rms_linear(op).expect("valid");
    let ids = rig.device.read_u32(out.view()).expect("readable");
    [ids.into_iter().map(|id| id as f32).collect(), rig.read(&logits)]
}

/// The lowest of the largest, 0 if there is no number.
fn argmax(logits: &[f32]) -> f32 {
    let best = logits.iter().copied().filter(|v| !v.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    let first = logits.iter().position(|&v| v == best && v > f32::NEG_INFINITY);
    first.unwrap_or(0) as f32
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

/// Equal logits in one tile, in two tiles and in two blocks; NaN before and behind the winner; nothing but NaN; all
/// minus infinity but the last.
#[test]
fn ties_and_nan() {
    let vocab = 70;
    let row_of = |values: &[(usize, f32)], rest: f32| {
        let mut logits = vec![rest; vocab];
        values.iter().for_each(|&(id, value)| logits[id] = value);
        logits
    };
    let nan = f32::NAN;
    let cases = [
        (row_of(&[(3, 2.0), (5, 2.0)], 1.0), 3.0),
        (row_of(&[(7, 2.0), (9, 2.0)], -1.0), 7.0),
        (row_of(&[(69, 2.0), (40, 2.0), (41, 2.0)], 1.0), 40.0),
        (row_of(&[(0, nan), (20, 2.0), (21, nan), (50, nan)], 1.0), 20.0),
        (row_of(&[], nan), 0.0),
        (row_of(&[(69, -3.0)], f32::NEG_INFINITY), 69.0),
        (row_of(&[], -1.0), 0.0),
    ];
    for (logits, want) in cases {
        let (got, cpu) = on_gpu_and_cpu(|rig| {
            // One input of 1, whose norm is 1 within eps: the logits are the weights.
            let (x, norm) = (rig.acts(&[1, 1], &[1.0]), rig.weight(&[1], &[1.0]));
            let [ids, _] = run(rig, [&x, &norm, &rig.weight(&[vocab, 1], &logits)]);
            ids
        });
        assert_eq!((got, cpu), (vec![want], vec![want]), "{logits:?}");
    }
}
