//! Memory whose size a file or a user decides: running out of it is an error, not an abort.
//!
//! A `Vec` that cannot grow aborts the process. Buffers that a file sizes are reserved here instead, and decoders of
//! other crates, which allocate as they like, run under a budget and after a trial reservation.

use std::fmt;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_sizes_are_errors() {
        assert_eq!(filled(1.5f32, 3), Ok(vec![1.5; 3]));
        assert_eq!(filled(0u64, usize::MAX / 8), Err(OutOfMemory::of((usize::MAX / 8 * 8) as u64)));
        assert_eq!(check_room(1 << 10), Ok(()));
        assert_eq!(check_room(u64::MAX), Err(OutOfMemory::of(u64::MAX)));
    }
}
