//! The paged KV cache: pages of 64 tokens, handed to sequences as they grow.
use crate::Result;
use kernels::{DType, Device, PAGE_TOKENS, Tensor, View};

/// Keys and values of all layers, and which pages are free.
pub(crate) struct KvCache {
    /// One pair per layer, `[pages·kv_heads, 64, head_dim]`.
    pub layers: Vec<Layer>,
    free: Vec<u32>,
}

/// One layer's pages.
pub(crate) struct Layer {
    pub k_pages: Tensor,
    pub v_pages: Tensor,
}

impl KvCache {
    pub fn new(device: &dyn Device, layers: usize, [tokens, kv_heads, head_dim]: [usize; 3]) -> Result<Self> {
        let pages = tokens.div_ceil(PAGE_TOKENS);
        let dims = [pages * kv_heads, PAGE_TOKENS, head_dim];
        let layer = || Ok(Layer { k_pages: device.activations(&dims)?, v_pages: device.activations(&dims)? });
        let layers = (0..layers).map(|_| layer()).collect::<kernels::Result<_>>()?;
        Ok(Self { layers, free: (0..pages as u32).rev().collect() })
    }

    /// Gives a sequence's pages back.
    pub fn release(&mut self, sequence: &mut Sequence) {
        self.free.append(&mut sequence.pages);
        sequence.tokens = 0;
    }
}

/// One growing sequence: its pages, and its device-side block table and positions.
pub(crate) struct Sequence {
    pages: Vec<u32>,
    tokens: usize,
    block_table: Tensor,
    positions: Tensor,
}

impl Sequence {
    /// Room for `tokens` tokens.
    pub fn new(device: &dyn Device, tokens: usize) -> Result<Self> {
        Ok(Self {
            pages: Vec::new(),
            tokens: 0,
            block_table: device.tensor(&[tokens.div_ceil(PAGE_TOKENS)], DType::U32)?,
            positions: device.tensor(&[tokens], DType::U32)?,
        })
    }

    /// Takes pages for `rows` more tokens and writes their positions.
    ///
    /// # Panics
    /// If the cache is full: the engine admits no request that it has no pages for.
    pub fn grow(&mut self, device: &dyn Device, cache: &mut KvCache, rows: usize) -> Result<()> {
        let wanted = (self.tokens + rows).div_ceil(PAGE_TOKENS);
        while self.pages.len() < wanted {
            self.pages.push(cache.free.pop().expect("admitted requests fit the cache"));
        }
        let mut table = vec![0u32; self.block_table.dims().count()];
        table[..self.pages.len()].copy_from_slice(&self.pages);
        device.write(&mut self.block_table, &table)?;
        let capacity = self.positions.dims().count();
        let first = self.tokens as u32;
        let positions: Vec<u32> = (first..).take(capacity).collect();
        device.write(&mut self.positions, &positions)?;
        self.tokens += rows;
        Ok(())
    }

    /// Physical page of each logical page.
    pub fn block_table(&self) -> View<'_> {
        self.block_table.view()
    }

    /// Positions of the `rows` tokens that were appended last.
    pub fn positions(&self, rows: usize) -> View<'_> {
        self.positions.view().rows(0..rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::{Cpu, Precision};

    const CPU: Cpu = Cpu { precision: Precision::Exact };

    #[test]
    fn pages_are_taken_at_the_boundary_and_come_back() {
        let device: &dyn Device = &CPU;
        let mut cache = KvCache::new(device, 1, [3 * PAGE_TOKENS, 2, 4]).unwrap();
        let mut sequence = Sequence::new(device, 3 * PAGE_TOKENS).unwrap();
        sequence.grow(device, &mut cache, PAGE_TOKENS).unwrap();
        assert_eq!((sequence.pages.len(), cache.free.len()), (1, 2));
        sequence.grow(device, &mut cache, 1).unwrap();
        assert_eq!((sequence.pages.len(), cache.free.len()), (2, 1));
        assert_eq!(device.read_u32(sequence.positions(1)).unwrap(), [PAGE_TOKENS as u32]);
        cache.release(&mut sequence);
        assert_eq!((sequence.tokens, cache.free.len()), (0, 3));
    }

    #[test]
    fn two_sequences_never_share_a_page() {
        let device: &dyn Device = &CPU;
        let mut cache = KvCache::new(device, 1, [4 * PAGE_TOKENS, 1, 2]).unwrap();
        let (mut a, mut b) = (Sequence::new(device, 128).unwrap(), Sequence::new(device, 128).unwrap());
        a.grow(device, &mut cache, 100).unwrap();
        b.grow(device, &mut cache, 100).unwrap();
        assert!(a.pages.iter().all(|page| !b.pages.contains(page)));
    }
}
