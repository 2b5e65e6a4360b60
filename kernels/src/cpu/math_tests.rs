//! Tests of the vector functions against f64, on every instruction set that this machine has.
use super::lanes::{Isa, Job, Lanes};
use super::math;
use crate::testing::assert_within;

/// 2^-24: half an ulp of 1.
const UNIT: f64 = 1.0 / 16_777_216.0;

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    GeluErf,
    GeluTanh,
    SwiGlu,
}

struct Apply<'a> {
    function: Function,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Job for Apply<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (x, out) in self.x.chunks_exact(L::WIDTH).zip(self.out.chunks_exact_mut(L::WIDTH)) {
            // SAFETY: chunks are whole vectors; `Isa::run` picked instructions that are there.
            unsafe {
                let v = L::load(x.as_ptr());
                let result = match self.function {
                    Function::Exp => math::exp::<L>(v),
                    Function::GeluErf => math::gelu_erf::<L>(v),
                    Function::GeluTanh => math::gelu_tanh::<L>(v),
                    Function::SwiGlu => math::swiglu::<L>(v, L::splat(2.0)),
                };
                L::store(out.as_mut_ptr(), result);
            }
        }
    }
}

/// Arguments of one function; Miri takes a millisecond for one.
const ARGUMENTS: usize = if cfg!(miri) { 64 } else { 32_000 };

/// Arguments from -`end` to `end`, and their results on each instruction set.
fn check(function: Function, end: f32, want: impl Fn(f64) -> f64, bound: impl Fn(f64, f64) -> f64) {
    let half = (ARGUMENTS / 2) as f32;
    let x: Vec<f32> = (0..ARGUMENTS).map(|i| (i as f32 / half - 1.0) * end).collect();
    let wanted: Vec<f64> = x.iter().map(|&x| want(f64::from(x))).collect();
    for isa in Isa::all() {
        let mut out = vec![f32::NAN; x.len()];
        // SAFETY: `Apply` has slices only.
        unsafe { isa.run(Apply { function, x: &x, out: &mut out }) };
        assert_within(&format!("{function:?} {isa:?}"), &out, &wanted, |i| bound(f64::from(x[i]), wanted[i]));
    }
}

/// The polynomial, its last product and the reduction of the argument: four roundings.
#[test]
fn exponential() {
    check(Function::Exp, 87.0, f64::exp, |_, want| 4.0 * UNIT * want);
}

/// In the tail the argument v²/2 of the exponential carries two roundings, which the exponential turns into relative
/// error; the polynomial's and the quotient's are below eight. The sum with v rounds once.
#[test]
fn gelu_with_erf() {
    // With erfc, since 1 + erf would cancel even in f64.
    let phi = |v: f64| 0.5 * v * libm::erfc(-v * std::f64::consts::FRAC_1_SQRT_2);
    for end in [1.0, 4.0, 13.0] {
        check(Function::GeluErf, end, phi, |v, want| {
            UNIT * (1.5 * want.abs() + phi(-v.abs()).abs() * (8.0 + 2.0 * v * v)) + 1e-37
        });
    }
}

/// The power's roundings, two of the constants among them, are relative to its size, which the exponential turns into
/// relative error.
#[test]
fn gelu_with_tanh() {
    let power = |v: f64| -2.0 * (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v * v * v);
    for end in [1.0, 4.0, 9.0] {
        check(
            Function::GeluTanh,
            end,
            |v| v / (1.0 + power(v).exp()),
            |v, want| UNIT * want.abs() * (6.0 + 4.0 * power(v).abs()),
        );
    }
}

#[test]
fn swiglu() {
    check(Function::SwiGlu, 80.0, |g| 2.0 * g / (1.0 + (-g).exp()), |_, want| 8.0 * UNIT * want.abs());
}

/// NaN stays NaN and no activation of an infinity is a number; huge arguments reach the limits.
#[test]
fn limits() {
    let x = [f32::NAN, f32::INFINITY, 3e38, -3e38, 200.0, -200.0, 0.0, -0.0];
    let x = [x, x.map(|v| -v)].concat();
    // The second half begins with -NaN.
    let x: Vec<f32> = x.iter().enumerate().map(|(at, &v)| if at == 8 { f32::NEG_INFINITY } else { v }).collect();
    for isa in Isa::all() {
        let result = |function| {
            let mut out = vec![7f32; x.len()];
            // SAFETY: as above.
            unsafe { isa.run(Apply { function, x: &x, out: &mut out }) };
            out
        };
        let exp = result(Function::Exp);
        assert!(exp[0].is_nan() && exp[1].is_finite() && exp[5] < 2e-38 && exp[6] == 1.0, "{isa:?}: {exp:?}");
        for function in [Function::GeluErf, Function::GeluTanh] {
            let out = result(function);
            assert!(out[0].is_nan() && !out[1].is_finite() && out[2] == 3e38, "{function:?} {isa:?}: {out:?}");
            assert!(out[4] == 200.0 && out[5].abs() < 1e-35 && out[6] == 0.0, "{function:?} {isa:?}: {out:?}");
        }
        for function in [Function::GeluErf, Function::GeluTanh, Function::SwiGlu] {
            let out = result(function);
            assert!([0, 1, 8].iter().all(|&at| !out[at].is_finite()), "{function:?} {isa:?}: {out:?}");
        }
    }
}
