//! Who holds which page of the KV cache: sequences, and the prefixes that questions about a volume share.
mod pool;
mod prefix;
mod sequence;

use med2e3_kernels::PAGE_TOKENS;
pub(crate) use pool::{Page, Pool};
pub(crate) use prefix::{PrefixKey, Prefixes};
pub(crate) use sequence::Sequence;

/// The pages of a model's cache, the prefixes that are kept in them, and what running sequences may still take.
pub(crate) struct Pages {
    pool: Pool,
    prefixes: Prefixes,
}

impl Pages {
    /// `count` free pages.
    pub fn new(count: usize) -> Self {
        Self { pool: Pool::new(count), prefixes: Prefixes::default() }
    }

    /// Pages that can be taken: the free ones, and those that only kept prefixes hold.
    pub fn available(&self) -> usize {
        self.pool.free() + self.prefixes.evictable()
    }

    /// A page, for which the prefix that was used least recently gives way if none is free.
    fn take(&mut self) -> Option<Page> {
        loop {
            if let Some(page) = self.pool.take() {
                return Some(page);
            }
            if !self.prefixes.evict_oldest() {
                return None;
            }
        }
    }

    /// Gives a sequence the pages that it lacks for `tokens` tokens in all. False, with the sequence as it was, if
    /// there are not enough.
    pub fn grow(&mut self, sequence: &mut Sequence, tokens: usize) -> bool {
        let mut taken = Vec::new();
        for _ in 0..sequence.lacks(tokens) {
            match self.take() {
                Some(page) => taken.push(page),
                None => return false,
            }
        }
        sequence.extend(taken);
        true
    }

    /// Keeps the first `tokens` tokens of a sequence as the prefix of those to come, unless no page is left for a copy
    /// of the last page, which the sequence goes on in: `copy` gets the page to read and the page to write.
    pub fn keep<E>(
        &mut self,
        key: PrefixKey,
        sequence: &Sequence,
        tokens: usize,
        copy: impl FnOnce(u32, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        if let Some(beginning) = self.beginning_of(sequence, tokens, copy) {
            self.prefixes.insert(key, beginning?);
        }
        Ok(())
    }

    /// Whether a prefix is kept.
    pub fn has_prefix(&self, key: &PrefixKey) -> bool {
        self.prefixes.contains(key)
    }

    /// Another sequence that goes on behind all tokens of one that stays. Its full pages are shared; the last one, if
    /// it is not full, is copied: `copy` gets the page to read and the page to write. `None` if no page is left for
    /// that.
    pub fn fork_of<E>(
        &mut self,
        sequence: &Sequence,
        copy: impl FnOnce(u32, u32) -> Result<(), E>,
    ) -> Option<Result<Sequence, E>> {
        self.beginning_of(sequence, sequence.tokens(), copy)
    }

    /// As [`Pages::fork_of`], behind the first `tokens` tokens.
    fn beginning_of<E>(
        &mut self,
        sequence: &Sequence,
        tokens: usize,
        copy: impl FnOnce(u32, u32) -> Result<(), E>,
    ) -> Option<Result<Sequence, E>> {
        if tokens.is_multiple_of(PAGE_TOKENS) {
            return Some(Ok(sequence.share(tokens, None)));
        }
        let page = self.take()?;
        let from = sequence.pages()[tokens / PAGE_TOKENS];
        Some(copy(from, page.number()).map(|()| sequence.share(tokens, Some(page))))
    }

    /// A sequence that goes on behind a kept prefix, as [`Pages::fork_of`]. Where no page is left for a copy, the
    /// prefix itself becomes that sequence and is kept no more. `None` if there is no such prefix.
    pub fn fork<E>(
        &mut self,
        key: &PrefixKey,
        copy: impl FnOnce(u32, u32) -> Result<(), E>,
    ) -> Option<Result<Sequence, E>> {
        // Taken out, it is not among those that give way to the copy.
        let prefix = self.prefixes.take(key)?;
        let Some(fork) = self.fork_of(&prefix, copy) else { return Some(Ok(prefix)) };
        self.prefixes.insert(key.clone(), prefix);
        Some(fork)
    }
}

#[cfg(test)]
mod tests;
