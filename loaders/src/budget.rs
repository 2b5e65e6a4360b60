//! How much memory the decoders of other crates may take, all threads together.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that all threads together may take at one time.
pub(crate) struct Budget {
    total: u64,
    taken: Mutex<u64>,
    returned: Condvar,
}

/// Bytes taken from a budget until this is dropped. Its holder must not wait for another permit or for other threads.
pub(crate) struct Permit<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    pub(crate) const fn new(total: u64) -> Self {
        Self { total, taken: Mutex::new(0), returned: Condvar::new() }
    }

    /// Waits until `bytes` are free and takes them; `None` where the whole budget is smaller.
    pub(crate) fn take(&self, bytes: u64) -> Option<Permit<'_>> {
        if bytes > self.total {
            return None;
        }
        let mut taken = self.lock();
        while *taken > self.total - bytes {
            taken = self.returned.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += bytes;
        Some(Permit { budget: self, bytes })
    }

    /// A thread that panicked while it held the lock left a whole number behind.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.budget.lock() -= self.bytes;
        self.budget.returned.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn all_threads_together_stay_within_the_budget() {
        static BUDGET: Budget = Budget::new(10);
        static HELD: AtomicU64 = AtomicU64::new(0);
        assert!(BUDGET.take(11).is_none());
        std::thread::scope(|scope| {
            for thread in 0..8 {
                scope.spawn(move || {
                    for round in 0..200 {
                        let bytes = 1 + (thread * 7 + round) % 10;
                        let _permit = BUDGET.take(bytes).expect("less than the budget");
                        let held = HELD.fetch_add(bytes, Ordering::SeqCst) + bytes;
                        assert!(held <= 10, "{held} at one time");
                        HELD.fetch_sub(bytes, Ordering::SeqCst);
                    }
                });
            }
        });
    }
}
