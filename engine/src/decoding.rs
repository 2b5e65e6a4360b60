//! The rows of a decoding step, one for each running sequence, as the device holds them.
use crate::Result;
use med2e3_kernels::ops::Choice;
use med2e3_kernels::{DECODE_ROWS_MAX, DType, Device, Graph, NON_FINITE, PAGE_TOKENS, Tensor};
use std::collections::HashMap;

/// Likely tokens that a step ranks on the device; OpenAI's interface allows as many. A request for more is answered
/// from the row of logits.
pub(crate) const RANKS: usize = 20;

/// How a step chooses each row's token; a later one does what the earlier ones do, and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Head {
    /// The most likely one; no logits.
    Greedy,
    /// As the row's [`Choice`] says.
    Chosen,
    /// As [`Head::Chosen`], with the log-probabilities of that token and of the [`RANKS`] most likely ones.
    Ranked,
}

/// The tokens that a step chose, or a pass over prompts.
pub(crate) struct Picks {
    ids: Vec<u32>,
    /// `[rows, RANKS]`; empty without ranks.
    top: Vec<u32>,
    /// `[rows, 1 + RANKS]`: of the chosen token, then of the most likely ones; empty without ranks.
    log_probs: Vec<f32>,
}

impl Picks {
    /// A row's token, or [`NON_FINITE`].
    pub fn id(&self, row: usize) -> u32 {
        self.ids[row]
    }

    /// The log-probability of a row's token, where the head ranks.
    pub fn log_prob(&self, row: usize) -> f32 {
        self.log_probs[row * (1 + RANKS)]
    }

    /// The `count` most likely tokens of a row, at most [`RANKS`], where the head ranks; fewer if the vocabulary is
    /// smaller.
    pub fn top(&self, row: usize, count: usize) -> Vec<(u32, f32)> {
        let ids = self.top[row * RANKS..][..count].iter().copied();
        let log_probs = self.log_probs[row * (1 + RANKS) + 1..].iter().copied();
        ids.zip(log_probs).take_while(|&(id, _)| id != NON_FINITE).collect()
    }
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
    /// `[rows of a step, 8]`, u32: how each row's token is chosen.
    pub choices: Tensor,
    /// `[rows of a step, RANKS]`, u32: the most likely tokens.
    pub top: Tensor,
    /// `[rows of a step, 1 + RANKS]`, f32: log-probabilities of the chosen token and of the most likely ones.
    pub log_probs: Tensor,
    /// What `block_tables` and `positions` hold; empty where that is not known.
    places: Vec<Known>,
    /// What `tokens` holds; empty where that is not known.
    ids: Vec<u32>,
    /// What `choices` holds; empty where that is not known.
    words: Vec<u32>,
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
            choices: device.tensor(&[rows, Choice::WORDS], DType::U32)?,
            top: device.tensor(&[rows, RANKS], DType::U32)?,
            log_probs: device.tensor(&[rows, 1 + RANKS], DType::F32)?,
            places: Vec::new(),
            ids: Vec::new(),
            words: Vec::new(),
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

    /// Tells the device how the next tokens are chosen, unless it knows.
    pub fn place_choices(&mut self, device: &dyn Device, choices: &[Choice]) -> Result<()> {
        let words = choices.iter().flat_map(Choice::words);
        if words.clone().eq(self.words.iter().copied()) {
            return Ok(());
        }
        self.words.clear();
        let mut padded = [0; DECODE_ROWS_MAX * Choice::WORDS];
        padded.iter_mut().zip(words.clone()).for_each(|(to, word)| *to = word);
        device.write(&mut self.choices, &padded)?;
        self.words.extend(words);
        Ok(())
    }

    /// Makes the next step write everything: one has failed, so what the device holds is not known.
    pub fn forget(&mut self) {
        self.places.clear();
        self.ids.clear();
        self.words.clear();
    }

    /// Notes that a step has run: the device counted every position up.
    pub fn advance(&mut self) {
        self.places.iter_mut().for_each(|place| place.position += 1);
    }

    /// Notes that the device has chosen tokens.
    pub fn forget_tokens(&mut self) {
        self.ids.clear();
    }

    /// What `count` rows chose.
    pub fn picks(&mut self, device: &dyn Device, count: usize, head: Head) -> Result<Picks> {
        let ids = device.read_u32(self.tokens.view().rows(0..count))?;
        let mut top = Vec::new();
        let mut log_probs = Vec::new();
        if head == Head::Ranked {
            top = device.read_u32(self.top.view().rows(0..count))?;
            log_probs = device.read(self.log_probs.view().rows(0..count))?;
        }
        self.ids.clone_from(&ids);
        Ok(Picks { ids, top, log_probs })
    }
}
