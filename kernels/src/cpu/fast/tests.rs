//! Tests of the fast path's driver over the plain twin; a processor that offers more is compared with the twin too.
use super::{DEPTH, Offer, Way, agrees_with_twin, offer, rounded, run, suits, ways};
use crate::cpu::lanes::Isa;
use crate::cpu::product::{Product, Weights};
use crate::ops::Epilogue;
use crate::ops::linear::reference;
use crate::testing::*;
use half::bf16;

/// `linear`'s f64 definition over x rounded to bf16.
///
/// Products of bf16 values are exact in f32. A sum makes inner/2 additions of pairs, without common sign: four times
/// the root of their number; the end adds a few more roundings, and slopes are below 1.13.
fn check(ways: &[Way], [rows, inner, columns]: [usize; 3], epilogue: Epilogue, seed: u32) {
    let weight_rows = columns * (1 + usize::from(epilogue == Epilogue::SwiGlu));
    let to_bf16 = |values: Vec<f32>| values.into_iter().map(bf16::from_f32).collect::<Vec<bf16>>();
    let weights = to_bf16(numbers(seed, weight_rows * inner, 2.0 / (inner as f32).sqrt()));
    let x = numbers(seed + 1, rows * inner, 2.0);
    let old = numbers(seed + 2, rows * columns, 1.0);
    let bias = (epilogue != Epilogue::SwiGlu).then(|| numbers(seed + 3, columns, 1.0));
    let w: Vec<f32> = weights.iter().map(|w| w.to_f32()).collect();
    let near: Vec<f32> = x.iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
    let want = reference::linear(&near, &w, bias.as_deref(), epilogue, &old, [inner, columns]);
    let weights_view = Weights::Bf16(&weights);
    let product = Product { x: &x, weights: weights_view, bias: bias.as_deref(), epilogue, rows, inner, columns };
    assert!(suits(&product));
    for (&way, isa) in ways.iter().flat_map(|way| Isa::all().into_iter().map(move |isa| (way, isa))) {
        let mut out = old.clone();
        run(way, isa, &product, &weights, &mut out);
        // |x| ≤ 2 and |w| ≤ 2/√inner bound the terms; a gate's error meets a value as large.
        let size = 4.0 * (inner as f64).sqrt() + 2.0;
        let other = if epilogue == Epilogue::SwiGlu { 2.0 * size } else { 1.13 };
        let bound = (4.0 * (inner as f64 / 2.0).sqrt() + 8.0) * 2f64.powi(-24) * size * other;
        assert_within(&format!("{way:?} {isa:?} {rows} x {inner} x {columns} {epilogue:?}"), &out, &want, |_| bound);
    }
}

#[test]
fn agrees_with_f64() {
    let ways: Vec<Way> = ways().into_iter().flatten().collect();
    for (seed, (sizes, epilogue)) in (600..).step_by(4).zip([
        ([9, 32, 32], Epilogue::None),
        ([33, 96, 64], Epilogue::GeluErf),
        ([64, 64, 96], Epilogue::SwiGlu),
        ([257, 32, 32], Epilogue::Residual),
        ([300, 160, 320], Epilogue::GeluTanh),
        ([70, 64, 1024], Epilogue::SwiGlu),
        ([40, 2 * DEPTH + 64, 64], Epilogue::SwiGlu),
        ([301, DEPTH + 32, 32], Epilogue::Residual),
    ]) {
        check(&ways, sizes, epilogue, seed);
    }
}

#[test]
fn only_whole_blocks_and_bf16() {
    let x = vec![0f32; 64];
    let w = vec![bf16::ZERO; 64 * 64];
    let product = |weights, rows, inner, columns| {
        suits(&Product { x: &x, weights, bias: None, epilogue: Epilogue::None, rows, inner, columns })
    };
    assert!(product(Weights::Bf16(&w), 1, 64, 64));
    assert!(!product(Weights::Bf16(&w), 1, 48, 64) && !product(Weights::Bf16(&w), 1, 64, 40));
    assert!(!product(Weights::Bf16(&w), 1, 0, 64) && !product(Weights::F32(&x), 1, 32, 32));
}

/// As `half` rounds: ties to even, overflow to infinity, NaN quiet, subnormals.
#[test]
fn rounds_to_nearest() {
    let cases = [1.0f32, 1.003_906_3, 1.011_718_8, -3.3e38, f32::MAX, f32::INFINITY, 1e-40, -0.0, f32::NAN];
    for v in cases.into_iter().chain(numbers(650, 1000, 1e3)) {
        assert_eq!(rounded(v), bf16::from_f32(v).to_bits(), "{v}");
    }
    assert!(bf16::from_bits(rounded(f32::from_bits(0x7fff_ffff))).is_nan());
}

/// The comparison passes for the twin itself, and no instruction set of this machine is refused.
#[test]
fn self_check() {
    assert!(agrees_with_twin(Way::Twin));
    assert!(!matches!(offer(), Offer::Refused(_)));
}
