//! Other people's parsers, run so that a panic in one of them is a bad file and not the end of the process.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many [`guarded`] calls this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// The result of `work`, or nothing where it panicked. `work` must leave nothing half-changed that is used afterwards.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    DEPTH.set(DEPTH.get() + 1);
    let done = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    done.ok()
}

/// Whether a panic on this thread would be caught by [`guarded`]: a program's panic hook need not report it.
pub fn is_guarded() -> bool {
    DEPTH.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_an_absence() {
        assert_eq!(guarded(is_guarded), Some(true));
        assert_eq!(guarded(|| guarded(|| [1][std::hint::black_box(3)])), Some(None));
        assert!(!is_guarded());
    }
}
