//! The block with AVX-512's `vdpbf16ps`: a pair of weights by 16 pairs of x.
use super::{BLOCK, Block, STEP, Sums};
use std::arch::x86_64::*;

/// Weight rows whose sums are in registers at once: 8 × 2 of 32.
const ROWS: usize = 8;

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16")
}

/// # Safety
/// The processor has AVX-512 F and BF16; the block's slices hold it.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn block(block: &Block<'_>, sums: &mut Sums) {
    for row in (0..BLOCK).step_by(ROWS) {
        // SAFETY: a vector of x is 16 pairs; each step has two halves of 16 such vectors. Weight rows have `inner`
        // elements, a multiple of a step; sums have 32 × 32 values.
        unsafe {
            let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
            let at = |i: usize| row * BLOCK + i * BLOCK;
            if block.add {
                for (i, acc) in acc.iter_mut().enumerate() {
                    let from = sums.as_ptr().add(at(i));
                    *acc = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))];
                }
            }
            for pair in 0..block.inner / 2 {
                let x = block.x.as_ptr().add(pair / 16 * BLOCK * STEP + pair % 16 * 32);
                let x = [0, 16 * STEP].map(|half| vector(_mm512_loadu_si512(x.add(half).cast())));
                for (i, acc) in acc.iter_mut().enumerate() {
                    let w = block.w.as_ptr().add((row + i) * block.stride + 2 * pair);
                    let both = vector(_mm512_set1_epi32(w.cast::<i32>().read_unaligned()));
                    acc[0] = _mm512_dpbf16_ps(acc[0], both, x[0]);
                    acc[1] = _mm512_dpbf16_ps(acc[1], both, x[1]);
                }
            }
            for (i, acc) in acc.into_iter().enumerate() {
                let to = sums.as_mut_ptr().add(at(i));
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
