//! Vectors as arrays: every processor, and the definition that the others are tested against.
use super::{Lanes, Rows, RowsMut, Stored, tile};
use half::{bf16, f16};

/// Eight values in an array.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

type V = [f32; 8];

#[inline(always)]
fn map2(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Lanes for Plain {
    const WIDTH: usize = 8;
    const TILE_ROWS: usize = 4;
    type V = V;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(at: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<V>().read() }
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[bf16; 8]>().read() }.map(bf16::widen)
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> V {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<[f16; 8]>().read() }.map(f16::widen)
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, v: V) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<V>().write(v) }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn round(v: V) -> V {
        v.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn pow2(v: V) -> V {
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
        unsafe { tile::<Self, { Self::TILE_ROWS }>(depth, x, w, out, add) }
    }
}
