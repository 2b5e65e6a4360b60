//! Beginnings of prompts that stay in the cache: all questions about a volume share theirs.
use super::Sequence;

/// What makes two beginnings the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrefixKey {
    /// The volume's number.
    pub volume: u64,
    /// The ids before the image.
    pub before: Vec<u32>,
    /// Which rotary table its keys are rotated by.
    pub long: bool,
}

struct Kept {
    key: PrefixKey,
    sequence: Sequence,
    /// When it was used last.
    used: u64,
}

/// The beginnings that are kept; the one used least recently gives way first.
#[derive(Default)]
pub(crate) struct Prefixes {
    // A few dozen at most: a released model's beginning takes five pages.
    kept: Vec<Kept>,
    uses: u64,
}

impl Prefixes {
    pub fn contains(&self, key: &PrefixKey) -> bool {
        self.kept.iter().any(|kept| kept.key == *key)
    }

    /// Takes one out, to read it or to give it away.
    pub fn take(&mut self, key: &PrefixKey) -> Option<Sequence> {
        let at = self.kept.iter().position(|kept| kept.key == *key)?;
        Some(self.kept.swap_remove(at).sequence)
    }

    /// Keeps one, in place of one of the same key; it counts as used now.
    pub fn insert(&mut self, key: PrefixKey, sequence: Sequence) {
        self.kept.retain(|kept| kept.key != key);
        self.uses += 1;
        self.kept.push(Kept { key, sequence, used: self.uses });
    }

    /// Drops the one that was used least recently. False if there is none.
    pub fn evict_oldest(&mut self) -> bool {
        let oldest = (0..self.kept.len()).min_by_key(|&at| self.kept[at].used);
        oldest.map(|at| self.kept.swap_remove(at)).is_some()
    }

    /// How many pages would be free if all of them were dropped.
    pub fn evictable(&self) -> usize {
        self.kept.iter().map(|kept| kept.sequence.own_pages()).sum()
    }
}
