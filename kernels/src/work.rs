//! What an op must move and compute at the least, from its contract.
use crate::{View, ViewMut};

/// The least that one call can do with: every input read once, every output written once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Bytes read and written.
    pub bytes: usize,
    /// Floating-point operations; a multiplication with an addition counts as two.
    pub flops: usize,
}

impl Work {
    /// A call that reads and writes these tensors whole.
    pub(crate) fn of(inputs: &[&View<'_>], outputs: &[&ViewMut<'_>], flops: usize) -> Self {
        let read: usize = inputs.iter().map(|view| view.bytes()).sum();
        let written: usize = outputs.iter().map(|view| view.bytes()).sum();
        Self { bytes: read + written, flops }
    }

    /// The same with bytes of tensors that are read or written in part.
    pub(crate) fn and_bytes(self, bytes: usize) -> Self {
        Self { bytes: self.bytes + bytes, ..self }
    }
}
