//! Memory that an op needs between its launches, kept from op to op.
use super::turn::Turn;
use super::{Gpu, Ptr};
use crate::{DType, Device, Dims, Mem, Result, Tensor, View};
use std::sync::{MutexGuard, PoisonError};

/// The workspace while one op uses it. Launches run in order, so the next op may overwrite it as soon as this one has
/// enqueued its last launch.
pub(crate) struct Workspace<'a> {
    memory: MutexGuard<'a, Option<Tensor>>,
    /// Taken before the memory is locked and given back after, so that threads lock in one order.
    _turn: Turn<'a>,
}

impl Gpu {
    /// At least `bytes` bytes on a 256-byte boundary, of unknown content. [`Device::reserve`] makes it as large as a
    /// model needs; without that it grows at the first op that needs more.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    pub(crate) fn workspace(&self, bytes: usize) -> Result<Workspace<'_>> {
        let turn = self.turns.take();
        let mut memory = self.workspace.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.as_ref().is_none_or(|tensor| tensor.bytes() < bytes) {
            let mem: Mem = self.alloc(bytes)?;
            let dims = Dims::new(&[mem.bytes() / DType::F32.bytes()]);
            *memory = Some(Tensor::new(mem, dims, DType::F32));
        }
        if let Some(tensor) = &*memory {
            self.note_use(tensor.view().span());
        }
        if let Some(tensor) = memory.as_mut() {
            // SAFETY: allocated above on this GPU, and this thread alone uses it while it is locked. NaN, so that an op
            // that trusts what it did not write shows.
            unsafe { self.backend.poison(&mut tensor.view_mut(), bytes)? };
        }
        Ok(Workspace { memory, _turn: turn })
    }
}

impl Workspace<'_> {
    /// Its address.
    pub fn ptr(&mut self) -> Ptr {
        let tensor = self.memory.as_mut().expect("made by `Gpu::workspace`");
        Ptr::of(&mut tensor.view_mut())
    }

    /// Its first bytes as a tensor.
    pub fn view(&self, dims: &[usize], dtype: DType) -> View<'_> {
        self.memory.as_ref().expect("made by `Gpu::workspace`").view_as(Dims::new(dims), dtype)
    }
}
