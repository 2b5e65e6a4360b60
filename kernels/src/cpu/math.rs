//! Exponential, activations and sums over vectors.
use super::lanes::Lanes;

/// `e^v` to about one ulp, NaN for NaN; the argument is cut to [-87.3, 88.3], so the result is finite and above 1e-38.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes>(v: L::V) -> L::V {
    // e^v = 2^n · e^r with |r| ≤ ln 2 / 2; the polynomial interpolates e^r at Chebyshev points, within 1e-8.
    const COEFFICIENTS: [f32; 7] = [1.0, 1.0, 0.5, 0.166_664_15, 0.041_666_35, 0.008_375_134, 0.001_394_111_9];
    // ln 2 in two parts, the first exact in products with n.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // SAFETY: the caller's promise.
    unsafe {
        let v = L::max(L::splat(-87.3), L::min(L::splat(88.3), v));
        let n = L::round(L::mul(v, L::splat(std::f32::consts::LOG2_E)));
        let r = L::fma(n, L::splat(-LN_2[1]), L::fma(n, L::splat(-LN_2[0]), v));
        L::mul(polynomial::<L, 7>(&COEFFICIENTS, r), L::pow2(n))
    }
}

/// `Σ c_i · v^i`.
#[inline(always)]
unsafe fn polynomial<L: Lanes, const N: usize>(coefficients: &[f32; N], v: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sum = L::splat(coefficients[N - 1]);
        for &c in coefficients[..N - 1].iter().rev() {
            sum = L::fma(sum, v, L::splat(c));
        }
        sum
    }
}

/// `v · Φ(v)`, the normal distribution's Φ to a few ulps in both tails; NaN for infinities, whatever the limits are.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn gelu_erf<L: Lanes>(v: L::V) -> L::V {
    // Φ(-√2 a) = e^(-a²) · erfcx(a) / 2. erfcx is a polynomial of t = 1 / (1 + a/2), interpolated at Chebyshev
    // points for a from 0 to 10 (within 2.5e-7 in f32); beyond, e^(-a²) is below the smallest normal number.
    const COEFFICIENTS: [f32; 10] = [
        -1.684_097_7e-5,
        0.282_466_8,
        0.278_755_3,
        0.262_173_56,
        0.141_273_66,
        0.099_131_12,
        0.113_771_51,
        -0.354_680_93,
        0.224_487_4,
        -0.047_361_62,
    ];
    // SAFETY: the caller's promise.
    unsafe {
        let zero = L::splat(0.0);
        let positive = L::max(zero, v);
        let size = L::min(L::max(v, L::sub(zero, v)), L::splat(14.142));
        // v - v is 0, or NaN where v is not finite. It is added to a number that is never -0, so no bit changes.
        let size = L::add(size, L::sub(v, v));
        let a = L::mul(size, L::splat(std::f32::consts::FRAC_1_SQRT_2));
        let t = L::div(L::splat(1.0), L::fma(a, L::splat(0.5), L::splat(1.0)));
        let tail = L::mul(polynomial::<L, 10>(&COEFFICIENTS, t), exp::<L>(L::mul(a, L::sub(zero, a))));
        // For v ≥ 0: v - |v|·Φ(-|v|); for v < 0: 0 - |v|·Φ(-|v|).
        L::fma(L::mul(size, L::splat(-0.5)), tail, positive)
    }
}

/// `v/2 · (1 + tanh u) = v / (1 + e^(-2u))` with `u = √(2/π)(v + 0.044715 v³)`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn gelu_tanh<L: Lanes>(v: L::V) -> L::V {
    const SCALE: f32 = -1.595_769;
    // SAFETY: the caller's promise.
    unsafe {
        let cubic = L::mul(v, L::fma(L::mul(v, v), L::splat(0.044_715 * SCALE), L::splat(SCALE)));
        L::div(v, L::add(L::splat(1.0), exp::<L>(cubic)))
    }
}

/// `v · g / (1 + e^-g)`.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn swiglu<L: Lanes>(g: L::V, v: L::V) -> L::V {
    // SAFETY: the caller's promise.
    unsafe {
        let decay = exp::<L>(L::sub(L::splat(0.0), g));
        L::mul(v, L::div(g, L::add(L::splat(1.0), decay)))
    }
}

/// The sum of a vector's values, neighbours first.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn sum<L: Lanes>(v: L::V) -> f32 {
    let mut values = [0f32; 16];
    // SAFETY: a vector has at most 16 values.
    unsafe { L::store(values.as_mut_ptr(), v) };
    let mut width = L::WIDTH;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            values[i] = values[2 * i] + values[2 * i + 1];
        }
    }
    values[0]
}

/// The largest of a vector's values.
///
/// # Safety
/// As [`Lanes`].
#[inline(always)]
pub(crate) unsafe fn max<L: Lanes>(v: L::V) -> f32 {
    let mut values = [f32::NEG_INFINITY; 16];
    // SAFETY: a vector has at most 16 values.
    unsafe { L::store(values.as_mut_ptr(), v) };
    values.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
