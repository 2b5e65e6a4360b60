//! Which accesses are ordered: a clock that ticks whenever threads synchronise.
//!
//! Every access carries the moment at which it was made. Threads run one at a time, so that moments grow, and "before"
//! needs few numbers: the last moment that a barrier of the whole block ended, the same for each warp, and, only once
//! some threads synchronised without the others, a table of how far each thread knows each other.
use crate::block::WARP;

/// The moments of one worker; they go on over blocks and launches, so that old marks are never taken for new ones.
#[derive(Default)]
pub(crate) struct Clock {
    pub now: u32,
    /// The first moment of this block.
    pub first: u32,
    /// What the block did up to here is before all that it does now.
    full: u32,
    /// The same among the lanes of one warp.
    warps: Vec<u32>,
    /// Whether `known` says anything.
    partial: bool,
    /// `known[a * threads + b]`: what thread `b` did up to here is before all that `a` does now.
    known: Vec<u32>,
    threads: usize,
}

impl Clock {
    /// Forgets the last block.
    pub fn begin_block(&mut self, threads: usize) {
        self.tick();
        self.first = self.now;
        self.full = self.now - 1;
        self.warps.clear();
        self.warps.resize(threads / WARP, self.now - 1);
        (self.partial, self.threads) = (false, threads);
    }

    /// A new moment.
    pub fn tick(&mut self) {
        self.now = self.now.checked_add(1).expect("fewer than 2^32 synchronisations on one OS thread");
    }

    /// Whether what `other` did at `moment` of this block is before all that `me` does now.
    #[inline]
    pub fn ordered(&self, me: u32, other: u32, moment: u32) -> bool {
        moment <= self.full
            || me == other
            || (me / 32 == other / 32 && moment <= self.warps[me as usize / WARP])
            || (self.partial && moment <= self.known[me as usize * self.threads + other as usize])
    }

    /// All threads of the block met.
    pub fn sync_block(&mut self) {
        self.full = self.now;
        self.tick();
    }

    /// All living lanes of `warp` met; `lanes` are their thread numbers.
    pub fn sync_warp(&mut self, warp: usize, lanes: impl Iterator<Item = u32> + Clone) {
        if self.partial {
            self.learn(lanes);
        }
        self.warps[warp] = self.now;
        self.tick();
    }

    /// Some threads of the block, or some lanes of a warp, met.
    pub fn sync_some(&mut self, threads: impl Iterator<Item = u32> + Clone) {
        if !self.partial {
            self.known.clear();
            self.known.resize(self.threads * self.threads, 0);
            self.partial = true;
        }
        self.learn(threads);
        self.tick();
    }

    /// Each of `threads` comes to know what any of them knows.
    fn learn(&mut self, threads: impl Iterator<Item = u32> + Clone) {
        let mut merged = vec![0; self.threads];
        for thread in threads.clone().map(|thread| thread as usize) {
            let row = &self.known[thread * self.threads..][..self.threads];
            merged.iter_mut().zip(row).for_each(|(to, &from)| *to = (*to).max(from));
            let warp = thread / WARP;
            let of_warp = self.warps[thread / WARP];
            merged[warp * WARP..][..WARP].iter_mut().for_each(|to| *to = (*to).max(of_warp));
        }
        threads.clone().for_each(|thread| merged[thread as usize] = self.now);
        for thread in threads.map(|thread| thread as usize) {
            self.known[thread * self.threads..][..self.threads].copy_from_slice(&merged);
        }
    }
}
