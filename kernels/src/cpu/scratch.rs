//! Buffers that a thread keeps from one task to the next, so that kernels do not allocate.
use bytemuck::{Pod, Zeroable};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// A buffer of a thread; a kernel may hold several of different kinds at once.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Packed weights or keys.
    Panel,
    /// Rows of activations.
    Rows,
    /// Sums that do not live in the output.
    Sums,
    /// Packed values of attention.
    Values,
    /// Scores of attention.
    Scores,
    /// Packed weights of attention.
    Weights,
}

/// What buffers are made of: a cache line, so that vectors and tiles do not lie across two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

// SAFETY: sixteen f32 values without padding; all bits are valid.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

thread_local! {
    static KEPT: [Cell<Vec<Line>>; 6] = const { [const { Cell::new(Vec::new()) }; 6] };
}

/// A buffer in use; dropping it hands it back to its thread.
pub(crate) struct Scratch {
    lines: Vec<Line>,
    kind: Kind,
}

/// At least `count` values of any content.
pub(crate) fn take(kind: Kind, count: usize) -> Scratch {
    let mut lines = KEPT.with(|kept| kept[kind as usize].take());
    if lines.len() < count.div_ceil(16) {
        lines.resize(count.div_ceil(16), Line::zeroed());
    }
    Scratch { lines, kind }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        KEPT.with(|kept| kept[self.kind as usize].set(std::mem::take(&mut self.lines)));
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.lines)
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}
