//! The rows of a decoding step, one for each running sequence, as the device holds them.
use crate::Result;
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

/// What a row of a step is: the next token of a sequence.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// What tells the sequence from all others of the process.
    pub sequence: u64,
    /// Where the token goes.
    pub position: usize,
    /// Physical page of each logical page.
    pub pages: &'a [u32],
    /// The token.
    pub id: u32,
}

/// Which place of which sequence a row has, as the device knows it.
#[derive(PartialEq)]
struct Known {
    sequence: u64,
    position: usize,
    pages: usize,
}

impl Known {
    fn of(row: &Row<'_>) -> Self {
        Self { sequence: row.sequence, position: row.position, pages: row.pages.len() }
    }
}

/// Tables, positions and tokens on the device, and what the host knows of them.
pub(crate) struct Decoding {
    /// `[rows of a step, logical pages]`, u32.
    pub block_tables: Tensor,
    /// `[rows of a step]`, u32: where each row's token goes; a step counts them up on the device.
    pub positions: Tensor,
    /// `[rows of a step]`, u32: what each row reads, and what it chose.
    pub tokens: Tensor,
    /// What `block_tables` and `positions` hold; empty where that is not known.
    places: Vec<Known>,
    /// What `tokens` holds.
    ids: Vec<u32>,
    /// Kinds that have run before, so that they may be recorded, with the recording once there is one.
    pub steps: HashMap<Kind, Option<Box<dyn Graph>>>,
}

impl Decoding {
    /// For steps of `rows` sequences of at most `tokens` tokens.
    pub fn new(device: &dyn Device, rows: usize, tokens: usize) -> Result<Self> {
        Ok(Self {
            block_tables: device.tensor(&[rows, tokens.div_ceil(PAGE_TOKENS)], DType::U32)?,
            positions: device.tensor(&[rows], DType::U32)?,
            tokens: device.tensor(&[rows], DType::U32)?,
            places: Vec::new(),
            ids: Vec::new(),
            steps: HashMap::new(),
        })
    }

    /// Tells the device what it does not know of the rows of the next step.
    pub fn place(&mut self, device: &dyn Device, rows: &[Row<'_>]) -> Result<()> {
        let count = self.positions.dims().count();
        if self.places.len() != rows.len() || !self.places.iter().zip(rows).all(|(known, row)| *known == Known::of(row))
        {
            self.places.clear();
            let mut positions: Vec<u32> = rows.iter().map(|row| row.position as u32).collect();
            positions.resize(count, 0);
            device.write(&mut self.positions, &positions)?;
            let width = self.block_tables.dims().count() / count;
            let mut tables = vec![0u32; count * width];
            for (table, row) in tables.chunks_exact_mut(width).zip(rows) {
                table[..row.pages.len()].copy_from_slice(row.pages);
            }
            device.write(&mut self.block_tables, &tables)?;
            self.places = rows.iter().map(Known::of).collect();
        }
        if !rows.iter().map(|row| row.id).eq(self.ids.iter().copied()) {
            self.ids.clear();
            let mut tokens: Vec<u32> = rows.iter().map(|row| row.id).collect();
            tokens.resize(count, 0);
            device.write(&mut self.tokens, &tokens)?;
            self.ids = rows.iter().map(|row| row.id).collect();
        }
        Ok(())
    }

    /// Makes the next step write everything: one has failed, so what the device holds is not known.
    pub fn forget(&mut self) {
        self.places.clear();
        self.ids.clear();
    }

    /// Notes that a step has run: the device counted every position up, and what `tokens` holds depends on the head.
    pub fn advance(&mut self, head: Head) {
        self.places.iter_mut().for_each(|place| place.position += 1);
        if head == Head::Greedy {
            self.ids.clear();
        }
    }

    /// What the rows of the last step chose.
    pub fn chosen(&mut self, device: &dyn Device) -> Result<Vec<u32>> {
        self.ids = device.read_u32(self.tokens.view().rows(0..self.places.len()))?;
        Ok(self.ids.clone())
    }
}
