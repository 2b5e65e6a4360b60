//! Buffers that a thread keeps from one task to the next, so that kernels do not allocate.
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
}

thread_local! {
    static KEPT: [Cell<Vec<f32>>; 5] = const { [const { Cell::new(Vec::new()) }; 5] };
}

/// A buffer in use; dropping it hands it back to its thread.
pub(crate) struct Scratch {
    values: Vec<f32>,
    kind: Kind,
}

/// At least `count` values of any content.
pub(crate) fn take(kind: Kind, count: usize) -> Scratch {
    let mut values = KEPT.with(|kept| kept[kind as usize].take());
    if values.len() < count {
        values.resize(count, 0.0);
    }
    Scratch { values, kind }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        KEPT.with(|kept| kept[self.kind as usize].set(std::mem::take(&mut self.values)));
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
