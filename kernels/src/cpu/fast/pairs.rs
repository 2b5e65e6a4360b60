//! The block with AVX-512's `vdpbf16ps`: a pair of weights by 16 pairs of x.
use super::{BLOCK, Sums};
use half::bf16;
use std::arch::x86_64::*;

/// Weight rows whose sums are in registers at once: 8 × 2 of 32.
const ROWS: usize = 8;

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// # Safety
/// The processor has AVX-512 F and BF16; `w` and `x` hold the block.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn block(w: &[bf16], stride: usize, x: &[bf16], inner: usize, sums: &mut Sums) {
    let half = x.as_ptr().wrapping_add(16 * inner);
    for row in (0..BLOCK).step_by(ROWS) {
        // SAFETY: a vector of x is 16 pairs of the packed halves, each `16 · inner` long; weight rows have `inner`
        // elements, which is even; sums have 32 × 32 values.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
            for pair in 0..inner / 2 {
                let x = [x.as_ptr(), half].map(|x| vector(_mm512_loadu_si512(x.add(pair * 32).cast())));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let both = w.as_ptr().add((row + i) * stride + 2 * pair).cast::<i32>().read_unaligned();
                    let both = vector(_mm512_set1_epi32(both));
                    acc[0] = _mm512_dpbf16_ps(acc[0], both, x[0]);
                    acc[1] = _mm512_dpbf16_ps(acc[1], both, x[1]);
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                let to = sums.as_mut_ptr().add((row + i) * BLOCK);
                _mm512_storeu_ps(to, acc[0]);
                _mm512_storeu_ps(to.add(16), acc[1]);
            }
        }
    }
}

#[inline(always)]
fn vector(bits: __m512i) -> __m512bh {
    // SAFETY: both are 512 plain bits.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}
