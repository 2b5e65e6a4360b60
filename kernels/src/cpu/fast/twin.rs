//! The block in plain Rust: what the processor's instructions are compared with.
use super::{BLOCK, Sums};
use half::bf16;

pub(super) fn block(w: &[bf16], stride: usize, x: &[bf16], inner: usize, sums: &mut Sums) {
    for (i, sum) in sums.iter_mut().enumerate() {
        let (row, column) = (i / BLOCK, i % BLOCK);
        let half = &x[column / 16 * 16 * inner..][..16 * inner];
        let pairs = half.chunks_exact(32).map(|pairs| [pairs[column % 16 * 2], pairs[column % 16 * 2 + 1]]);
        let weights = w[row * stride..][..inner].chunks_exact(2);
        *sum = weights.zip(pairs).map(|(w, x)| w[0].to_f32() * x[0].to_f32() + w[1].to_f32() * x[1].to_f32()).sum();
    }
}
