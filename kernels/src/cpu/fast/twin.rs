//! The block in plain Rust: what the processor's instructions are compared with.
use super::{BLOCK, Block, STEP, Sums};

pub(super) fn block(block: &Block<'_>, sums: &mut Sums) {
    for (i, sum) in sums.iter_mut().enumerate() {
        let row = i / BLOCK;
        let column = i % BLOCK;
        let mut total = if block.add { *sum } else { 0.0 };
        let steps = block.x.chunks_exact(BLOCK * STEP).zip(block.w[row * block.stride..].chunks_exact(STEP));
        for (x, w) in steps.take(block.inner / STEP) {
            let x = x[column / 16 * 16 * STEP..].chunks_exact(32).map(|pairs| &pairs[column % 16 * 2..][..2]);
            for (w, x) in w.chunks_exact(2).zip(x) {
                total += w[0].to_f32() * x[0].to_f32() + w[1].to_f32() * x[1].to_f32();
            }
        }
        *sum = total;
    }
}
