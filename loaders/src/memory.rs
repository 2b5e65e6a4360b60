//! Memory whose size a file or a user decides: running out of it is an error, not an abort.
//!
//! A `Vec` that cannot grow aborts the process. Buffers that a file sizes are reserved here instead, and decoders of
//! other crates, which allocate as they like, run under a budget and after a trial reservation.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;

/// An allocation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were asked for, where that is known.
    pub bytes: Option<u64>,
}

impl OutOfMemory {
    fn of(bytes: u64) -> Self {
        Self { bytes: Some(bytes) }
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            Some(bytes) => write!(f, "memory ran out: {bytes} more bytes could not be allocated"),
            None => f.write_str("memory ran out"),
        }
    }
}

/// Makes room for exactly `more` further elements.
pub(crate) fn reserve<T>(buffer: &mut Vec<T>, more: usize) -> Result<(), OutOfMemory> {
    let bytes = (more as u64).saturating_mul(size_of::<T>() as u64);
    buffer.try_reserve_exact(more).map_err(|_| OutOfMemory::of(bytes))
}

/// Elements from which it pays to fill a buffer with all threads.
const SHARED_COUNT_MIN: usize = 1 << 18;

/// `count` times `value`. The pages are touched by all threads: a large volume is mostly page faults.
pub(crate) fn filled<T: Copy + Send + Sync>(value: T, count: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut buffer = Vec::new();
    reserve(&mut buffer, count)?;
    if count < SHARED_COUNT_MIN {
        buffer.resize(count, value);
    } else {
        buffer.par_extend((0..count).into_par_iter().map(|_| value));
    }
    Ok(buffer)
}

/// Whether `bytes` could be allocated now, for code that aborts if they cannot.
pub(crate) fn check_room(bytes: u64) -> Result<(), OutOfMemory> {
    let count = usize::try_from(bytes).map_err(|_| OutOfMemory::of(bytes))?;
    reserve(&mut Vec::<u8>::new(), count)
}

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
    fn impossible_sizes_are_errors() {
        assert_eq!(filled(1.5f32, 3), Ok(vec![1.5; 3]));
        assert_eq!(filled(0u64, usize::MAX / 8), Err(OutOfMemory::of((usize::MAX / 8 * 8) as u64)));
        assert_eq!(check_room(1 << 10), Ok(()));
        assert_eq!(check_room(u64::MAX), Err(OutOfMemory::of(u64::MAX)));
    }

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
