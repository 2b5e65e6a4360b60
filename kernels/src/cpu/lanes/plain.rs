//! Vectors as arrays: every processor, and the definition that the others are tested against.
use super::{Lanes, Rows, RowsMut, Stored, tile};
use half::{bf16, f16};

/// `N` values in an array, register tiles of `ROWS` rows.
#[derive(Clone, Copy)]
pub(crate) struct Plain<const N: usize, const ROWS: usize>;

#[inline(always)]
fn map2<const N: usize>(a: [f32; N], b: [f32; N], f: impl Fn(f32, f32) -> f32) -> [f32; N] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl<const N: usize, const ROWS: usize> Lanes for Plain<N, ROWS> {
    const WIDTH: usize = N;
    const TILE_ROWS: usize = ROWS;
    type V = [f32; N];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; N]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; N]>().read() }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[bf16; N]>().read() }.map(bf16::widen)
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> Self::V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f16; N]>().read() }.map(f16::widen)
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, v: Self::V) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f32; N]>().write(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(v: Self::V) -> Self::V {
        v.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn pow2(v: Self::V) -> Self::V {
        v.map(|v| f32::from_bits(((v as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn transpose8<S: Stored>(from: *const S, stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..8 {
            for column in 0..8 {
                // SAFETY: the caller's promise covers eight runs of eight on both sides.
                unsafe { *to.add(column * to_stride + row) = (*from.add(row * stride + column)).widen() }
            }
        }
    }
    #[inline(always)]
    unsafe fn multiply_tile(depth: usize, x: Rows, w: *const f32, out: RowsMut, add: bool) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, ROWS>(depth, x, w, out, add) }
    }
}
