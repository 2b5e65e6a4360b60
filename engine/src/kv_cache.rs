//! The paged KV cache on the device: pages of 64 tokens.
use crate::Result;
use med2e3_kernels::ops::Copy;
use med2e3_kernels::{Device, PAGE_TOKENS, Tensor};

/// Keys and values of all layers.
pub(crate) struct KvCache {
    /// One pair per layer, `[pages·kv_heads, 64, head_dim]`.
    pub layers: Vec<Layer>,
    pages: usize,
}

/// One layer's pages.
pub(crate) struct Layer {
    pub k_pages: Tensor,
    pub v_pages: Tensor,
}

impl KvCache {
    /// `pages` pages for `layers` layers of `kv_heads` heads.
    pub fn new(device: &dyn Device, layers: usize, pages: usize, [kv_heads, head_dim]: [usize; 2]) -> Result<Self> {
        let dims = [pages * kv_heads, PAGE_TOKENS, head_dim];
        let layer = || Ok(Layer { k_pages: device.activations(&dims)?, v_pages: device.activations(&dims)? });
        Ok(Self { layers: (0..layers).map(|_| layer()).collect::<med2e3_kernels::Result<_>>()?, pages })
    }

    /// How many pages it has.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Copies all of page `from` to page `to`, in every layer. `room` is `[kv_heads·64, head_dim]`, activations: pages
    /// are windows of one tensor, which an op cannot read and write at the same time.
    pub fn copy_page(&mut self, device: &dyn Device, from: u32, to: u32, room: &mut Tensor) -> Result<()> {
        let dims = room.dims();
        let heads = dims.as_slice()[0] / PAGE_TOKENS;
        let [from, to] = [from, to].map(|page| page as usize * heads..(page as usize + 1) * heads);
        for layer in &mut self.layers {
            for pages in [&mut layer.k_pages, &mut layer.v_pages] {
                let x = pages.view().rows(from.clone()).reshape(dims.as_slice());
                device.copy(Copy { x, out: room.view_mut() })?;
                let out = pages.view_mut().rows(to.clone()).reshape(dims.as_slice());
                device.copy(Copy { x: room.view(), out })?;
            }
        }
        Ok(())
    }
}
