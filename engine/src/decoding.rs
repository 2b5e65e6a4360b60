//! The rows of a decoding step, one for each running sequence, as the device holds them.
use crate::Result;
use crate::kv_cache::Sequence;
use med2e3_kernels::{DType, Device, Graph, PAGE_TOKENS, Tensor};
use std::collections::HashMap;

/// What a step leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Head {
    /// The most likely token of each row; no logits.
    Greedy,
    /// The logits of each row.
    Logits,
}

/// Steps that enqueue the same ops with the same addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// Sequences in the step. Every count has a recording of its own, so that none computes rows that nobody wants.
    pub rows: usize,
    /// What comes out.
    pub head: Head,
    /// Which rotary table is read.
    pub long: bool,
}

/// Tables, positions and tokens on the device, and what the host knows of them.
pub(crate) struct Decoding {
    /// `[sequences, logical pages]`, u32.
    pub block_tables: Tensor,
    /// `[sequences]`, u32: where each row's token goes; the device counts on by itself.
    pub positions: Tensor,
    /// `[sequences]`, u32: what each row reads, and what it chose.
    pub tokens: Tensor,
    /// The sequence of each row; empty where the device knows nothing.
    slots: Vec<usize>,
    /// What `tokens` holds in these rows.
    known: Vec<u32>,
    /// Kinds that have run before, so that they may be recorded, with the recording once there is one.
    pub steps: HashMap<Kind, Option<Box<dyn Graph>>>,
}

impl Decoding {
    /// Room for `sequences` sequences of at most `tokens` tokens.
    pub fn new(device: &dyn Device, sequences: usize, tokens: usize) -> Result<Self> {
        Ok(Self {
            block_tables: device.tensor(&[sequences, tokens.div_ceil(PAGE_TOKENS)], DType::U32)?,
            positions: device.tensor(&[sequences], DType::U32)?,
            tokens: device.tensor(&[sequences], DType::U32)?,
            slots: Vec::new(),
            known: Vec::new(),
            steps: HashMap::new(),
        })
    }

    /// Makes the next step write everything anew: a sequence has changed other than by a step.
    pub fn forget(&mut self) {
        self.slots.clear();
        self.known.clear();
    }

    /// Tells the device what it does not know: that row i goes on with sequence `slots[i]` by token `ids[i]`.
    pub fn place(&mut self, device: &dyn Device, all: &[Sequence], slots: &[usize], ids: &[u32]) -> Result<()> {
        let count = self.positions.dims().count();
        if self.slots != slots {
            let mut positions: Vec<u32> = slots.iter().map(|&slot| all[slot].tokens() as u32).collect();
            positions.resize(count, 0);
            device.write(&mut self.positions, &positions)?;
            let width = self.block_tables.dims().count() / count;
            let mut tables = vec![0u32; count * width];
            for (table, &slot) in tables.chunks_exact_mut(width).zip(slots) {
                let pages = all[slot].pages();
                table[..pages.len()].copy_from_slice(pages);
            }
            device.write(&mut self.block_tables, &tables)?;
            self.slots = slots.to_vec();
        }
        if self.known != ids {
            let mut tokens = ids.to_vec();
            tokens.resize(count, 0);
            device.write(&mut self.tokens, &tokens)?;
            self.known = ids.to_vec();
        }
        Ok(())
    }

    /// What the rows of the last step chose.
    pub fn chosen(&mut self, device: &dyn Device) -> Result<Vec<u32>> {
        self.known = device.read_u32(self.tokens.view().rows(0..self.slots.len()))?;
        Ok(self.known.clone())
    }
}
