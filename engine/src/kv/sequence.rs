//! One growing sequence of tokens and the pages that hold it.
use super::Page;
use med2e3_kernels::PAGE_TOKENS;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers sequences.
static SEQUENCES: AtomicU64 = AtomicU64::new(0);

/// The pages of a prompt and its answer, in order.
pub(crate) struct Sequence {
    /// No other sequence of the process has it.
    id: u64,
    pages: Vec<Page>,
    /// The pages' numbers, as the device reads them.
    numbers: Vec<u32>,
    tokens: usize,
    /// Whether its keys are rotated by the long factors.
    long: bool,
}

impl Sequence {
    /// An empty one.
    pub fn new(long: bool) -> Self {
        let id = SEQUENCES.fetch_add(1, Ordering::Relaxed);
        Self { id, pages: Vec::new(), numbers: Vec::new(), tokens: 0, long }
    }

    /// Another one that begins with the first `tokens` tokens of this one: full pages are shared, and `last` stands in
    /// for the last page where that is not full.
    pub(super) fn share(&self, tokens: usize, last: Option<Page>) -> Self {
        let mut fork = Self::new(self.long);
        fork.extend(self.pages[..tokens / PAGE_TOKENS].iter().map(Page::share).chain(last).collect());
        fork.tokens = tokens;
        fork
    }

    /// Takes further pages.
    pub(super) fn extend(&mut self, pages: Vec<Page>) {
        self.numbers.extend(pages.iter().map(Page::number));
        self.pages.extend(pages);
    }

    /// How many pages it lacks to hold `tokens` tokens in all.
    pub fn lacks(&self, tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS).saturating_sub(self.pages.len())
    }

    /// How many of its pages are held by it alone.
    pub(super) fn own_pages(&self) -> usize {
        self.pages.iter().filter(|page| !page.is_shared()).count()
    }

    /// Counts `rows` more tokens.
    ///
    /// # Panics
    /// If there are no pages for them.
    pub fn append(&mut self, rows: usize) {
        self.tokens += rows;
        assert!(self.tokens <= self.pages.len() * PAGE_TOKENS, "it has grown before");
    }

    /// What tells it from others.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How many tokens it has.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Whether its keys are rotated by the long factors.
    pub fn long(&self) -> bool {
        self.long
    }

    /// Physical page of each logical page.
    pub fn pages(&self) -> &[u32] {
        &self.numbers
    }
}
