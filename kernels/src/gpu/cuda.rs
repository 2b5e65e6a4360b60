//! A real GPU as the launchers see it: calls go to the driver, memory and graphs are the driver's. No real GPU has run
//! it; tests run it over the crate `fake-cuda`.
use super::backend::{Backend, Shared};
use super::driver::Driver;
use super::kernel::{Grid, Kernel};
use super::{graph, memory, timer};
use crate::{DType, Graph, Mem, Result, Space, View, ViewMut};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

impl Backend for Arc<Driver> {
    fn describe(&self) -> String {
        self.name.clone()
    }

    fn free_bytes(&self) -> Option<usize> {
        memory::free_bytes(self)
    }

    fn note_use(&self, bytes: Range<usize>) {
        self.in_use().note(bytes);
    }

    fn alloc(&self, bytes: usize, space: Space) -> Result<Mem> {
        memory::alloc(self, bytes, space)
    }

    unsafe fn upload(&self, dst: &mut ViewMut<'_>, src: &[u8], from: DType) -> Result<()> {
        let to = dst.addr().addr() as u64;
        let into = dst.dtype();
        // SAFETY: the tensor holds as many elements as the host's bytes, as the caller promises.
        unsafe { memory::upload(self, to, src, [from, into]) }
    }

    unsafe fn download(&self, src: &View<'_>, dst: &mut [u8]) -> Result<()> {
        let bytes = src.dtype().bytes();
        let width = src.dims().as_slice().last().copied().unwrap_or(1) * bytes;
        let rows = memory::Rows { from: src.addr().addr() as u64, width, stride: src.stride() * bytes };
        // SAFETY: `dst` holds as many rows as the view, as the caller promises.
        unsafe { memory::download(self, rows, dst) }
    }

    unsafe fn launch(&self, kernel: &Kernel, grid: Grid, params: &[u8]) -> Result<()> {
        // SAFETY: as the caller promises.
        unsafe { Driver::launch(self, kernel.name, grid, params) }
    }

    fn time(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        timer::time(self, enqueue)
    }

    fn record(&self, shared: Shared, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Graph>> {
        graph::record(self, shared, enqueue)
    }
}
