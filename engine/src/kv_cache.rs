//! The paged KV cache: pages of 64 tokens, handed to sequences as they grow.
use crate::Result;
use med2e3_kernels::{DType, Device, PAGE_TOKENS, Tensor, View};

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
    /// Pages for `sequences` sequences of `tokens` tokens.
    pub fn new(
        device: &dyn Device,
        layers: usize,
        [sequences, tokens]: [usize; 2],
        [kv_heads, head_dim]: [usize; 2],
    ) -> Result<Self> {
        let pages = sequences * tokens.div_ceil(PAGE_TOKENS);
        let dims = [pages * kv_heads, PAGE_TOKENS, head_dim];
        let layer = || Ok(Layer { k_pages: device.activations(&dims)?, v_pages: device.activations(&dims)? });
        let layers = (0..layers).map(|_| layer()).collect::<med2e3_kernels::Result<_>>()?;
        Ok(Self { layers, free: (0..pages as u32).rev().collect() })
    }

    /// Gives a sequence's pages back.
    pub fn release(&mut self, sequence: &mut Sequence) {
        self.free.append(&mut sequence.pages);
        sequence.tokens = 0;
    }
}

/// One growing sequence: its pages, and what the device must know of them.
pub(crate) struct Sequence {
    pages: Vec<u32>,
    tokens: usize,
    block_table: Tensor,
}

impl Sequence {
    /// Room for `tokens` tokens.
    pub fn new(device: &dyn Device, tokens: usize) -> Result<Self> {
        let block_table = device.tensor(&[tokens.div_ceil(PAGE_TOKENS)], DType::U32)?;
        Ok(Self { pages: Vec::new(), tokens: 0, block_table })
    }

    /// Takes pages for all the `tokens` tokens that the sequence may grow to, so that nothing changes while it grows.
    ///
    /// # Panics
    /// If the cache is full: the engine admits no request that it has no pages for.
    pub fn reserve(&mut self, device: &dyn Device, cache: &mut KvCache, tokens: usize) -> Result<()> {
        while self.pages.len() < tokens.div_ceil(PAGE_TOKENS) {
            self.pages.push(cache.free.pop().expect("admitted requests fit the cache"));
        }
        let mut table = vec![0u32; self.block_table.dims().count()];
        table[..self.pages.len()].copy_from_slice(&self.pages);
        Ok(device.write(&mut self.block_table, &table)?)
    }

    /// Counts `rows` more tokens.
    ///
    /// # Panics
    /// If no pages were reserved for them.
    pub fn append(&mut self, rows: usize) {
        self.tokens += rows;
        assert!(self.tokens <= self.pages.len() * PAGE_TOKENS, "pages were reserved");
    }

    /// How many tokens it has.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Physical page of each logical page.
    pub fn pages(&self) -> &[u32] {
        &self.pages
    }

    /// As [`Sequence::pages`], on the device.
    pub fn block_table(&self) -> View<'_> {
        self.block_table.view()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use med2e3_kernels::{Cpu, Precision};

    const CPU: Cpu = Cpu { precision: Precision::Exact };

    #[test]
    fn pages_are_taken_at_the_boundary_and_come_back() {
        let device: &dyn Device = &CPU;
        let mut cache = KvCache::new(device, 1, [1, 3 * PAGE_TOKENS], [2, 4]).unwrap();
        let mut sequence = Sequence::new(device, 3 * PAGE_TOKENS).unwrap();
        sequence.reserve(device, &mut cache, PAGE_TOKENS).unwrap();
        assert_eq!((sequence.pages.len(), cache.free.len()), (1, 2));
        sequence.reserve(device, &mut cache, PAGE_TOKENS + 1).unwrap();
        assert_eq!((sequence.pages.len(), cache.free.len()), (2, 1));
        sequence.append(PAGE_TOKENS);
        sequence.append(1);
        assert_eq!(device.read_u32(sequence.block_table()).unwrap()[..2], sequence.pages);
        cache.release(&mut sequence);
        assert_eq!((sequence.tokens, cache.free.len()), (0, 3));
    }

    #[test]
    fn two_sequences_never_share_a_page() {
        let device: &dyn Device = &CPU;
        let mut cache = KvCache::new(device, 1, [2, 2 * PAGE_TOKENS], [1, 2]).unwrap();
        let (mut a, mut b) = (Sequence::new(device, 128).unwrap(), Sequence::new(device, 128).unwrap());
        a.reserve(device, &mut cache, 100).unwrap();
        b.reserve(device, &mut cache, 100).unwrap();
        assert!(a.pages.iter().all(|page| !b.pages.contains(page)));
    }
}
