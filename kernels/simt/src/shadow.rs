//! What happened to each word of a piece of memory: who wrote it last, and who read it since.
//!
//! A cell keeps the last write and three readers since: the latest, the latest by another thread, and the latest of
//! another warp (of another block, if there is one). With barriers of whole blocks and whole warps that is as good as
//! keeping all readers: if any of them is unordered with a write, one of the three is. Atomics among each other are
//! kept like readers among each other.
use crate::clock::Clock;

/// Moment (32 bits), thread (10), site (19), flags (3); 0 is nobody.
pub(crate) type Mark = u64;

/// The last write; the latest reader, the latest by another thread, the latest of another warp or block.
/// Where `SPLIT` is set in `WRITE`, `LATEST` is the index of four cells, one for each byte.
type Cell = [Mark; 4];
const WRITE: usize = 0;
const LATEST: usize = 1;
const OTHER_THREAD: usize = 2;
const OTHER_WARP: usize = 3;

/// The flags of a mark.
const FLAGS: Mark = 7;
/// In `WRITE`: the word has a cell for each byte.
const SPLIT: Mark = 1;
/// In `WRITE`: a `cp.async` that was issued and not waited for.
const FLIGHT: Mark = 2;
/// In `WRITE`: the last of some atomics, which a plain read followed.
const WAS_ATOMIC: Mark = 3;
/// In `WRITE`: the last of some reads, which an atomic followed.
const WAS_READ: Mark = 4;
/// In `LATEST`: the three are atomics, not reads.
const ATOMIC: Mark = 1;

/// Bytes of a cell.
const WORD: usize = 4;
/// Sites that a mark can hold.
pub(crate) const SITES_MAX: usize = 1 << 19;

pub(crate) fn mark(moment: u32, thread: u32, site: u32) -> Mark {
    u64::from(moment) << 32 | u64::from(thread) << 22 | u64::from(site) << 3
}
pub(crate) fn moment(mark: Mark) -> u32 {
    (mark >> 32) as u32
}
pub(crate) fn thread(mark: Mark) -> u32 {
    (mark >> 22) as u32 & 1023
}
pub(crate) fn site(mark: Mark) -> u32 {
    (mark >> 3) as u32 & (SITES_MAX as u32 - 1)
}

/// What a thread does to memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
    Atomic,
    /// `cp.async` begins to write.
    Issue,
    /// `cp.async` has written.
    Land,
}

/// Why an access is wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Shared memory that nobody wrote in this block.
    Unset,
    /// The mark's write is not ordered with the access.
    Write(Mark),
    /// The mark's read is not ordered with the access.
    Read(Mark),
    /// The mark's atomic is not ordered with the access.
    Atomic(Mark),
    /// The mark's `cp.async` has not been waited for.
    Flight(Mark),
}

/// Cells of one buffer, or of a block's shared memory.
pub(crate) struct Shadow {
    cells: Vec<Cell>,
    bytes: Vec<[Cell; WORD]>,
    /// Shared memory starts anew with each block; global memory remembers other blocks.
    is_shared: bool,
}

impl Shadow {
    /// For `bytes` bytes. Cells are zero pages until they are touched.
    pub fn new(bytes: usize, is_shared: bool) -> Self {
        Self { cells: vec![[0; 4]; bytes.div_ceil(WORD)], bytes: Vec::new(), is_shared }
    }

    /// Forgets the cells of bytes; the words that have them are older than the next block.
    pub fn begin_block(&mut self) {
        self.bytes.clear();
    }

    /// Notes an access by `me` to `bytes` at `offset`, and gives the first offset at which it is wrong.
    #[inline]
    pub fn touch(
        &mut self,
        offset: usize,
        bytes: usize,
        access: Access,
        me: Mark,
        clock: &Clock,
    ) -> Result<(), (usize, Conflict)> {
        let end = offset + bytes;
        for word in offset / WORD..end.div_ceil(WORD) {
            let start = word * WORD;
            let cell = &mut self.cells[word];
            if cell[WRITE] & FLAGS != SPLIT && offset <= start && start + WORD <= end {
                step(cell, access, me, clock, self.is_shared).map_err(|conflict| (start, conflict))?;
            } else {
                let cells = split(cell, &mut self.bytes, clock, self.is_shared);
                for at in start.max(offset)..(start + WORD).min(end) {
                    step(&mut cells[at - start], access, me, clock, self.is_shared)
                        .map_err(|conflict| (at, conflict))?;
                }
            }
        }
        Ok(())
    }

    /// The first write to `bytes` at `offset` that was made at `moment` or later.
    pub fn written_since(&self, offset: usize, bytes: usize, since: u32) -> Option<(usize, Mark)> {
        (offset..offset + bytes).find_map(|at| {
            let cell = &self.cells[at / WORD];
            let split = cell[WRITE] & FLAGS == SPLIT;
            let write = if split { self.bytes[cell[LATEST] as usize][at % WORD][WRITE] } else { cell[WRITE] };
            (moment(write) >= since).then_some((at, write))
        })
    }
}

/// The cells of a word's bytes, made from the word's if need be.
#[cold]
fn split<'a>(
    cell: &mut Cell,
    bytes: &'a mut Vec<[Cell; WORD]>,
    clock: &Clock,
    is_shared: bool,
) -> &'a mut [Cell; WORD] {
    let stale = is_shared && moment(cell[WRITE]) < clock.first;
    if cell[WRITE] & FLAGS != SPLIT || stale {
        bytes.push([if stale { [0; 4] } else { *cell }; WORD]);
        *cell = [u64::from(clock.now) << 32 | SPLIT, bytes.len() as u64 - 1, 0, 0];
    }
    &mut bytes[cell[LATEST] as usize]
}

/// Whether `mark`, not nobody's, was made before all that `me` does now.
#[inline]
fn ordered(mark: Mark, me: Mark, clock: &Clock) -> bool {
    moment(mark) >= clock.first && clock.ordered(thread(me), thread(mark), moment(mark))
}

/// One access to one cell.
#[inline]
fn step(cell: &mut Cell, access: Access, me: Mark, clock: &Clock, is_shared: bool) -> Result<(), Conflict> {
    let write = cell[WRITE];
    let fresh = is_shared && moment(write) < clock.first;
    if fresh {
        if matches!(access, Access::Read | Access::Atomic) {
            return Err(Conflict::Unset);
        }
    } else if write != 0 {
        let flags = write & FLAGS;
        if flags == FLIGHT && access != Access::Land {
            return Err(Conflict::Flight(write));
        }
        let alike = match access {
            Access::Atomic => flags == WAS_ATOMIC,
            Access::Read => flags == WAS_READ,
            _ => false,
        };
        if !alike && !ordered(write, me, clock) {
            return Err(match flags {
                WAS_ATOMIC => Conflict::Atomic(write),
                WAS_READ => Conflict::Read(write),
                _ => Conflict::Write(write),
            });
        }
    }
    match access {
        Access::Read => {
            if cell[LATEST] & ATOMIC != 0 {
                after_atomics(cell, me, clock)?;
            }
            share(cell, me, clock);
        }
        Access::Atomic => {
            if cell[LATEST] & ATOMIC == 0 {
                others(cell, me, clock).map_or(Ok(()), |mark| Err(Conflict::Read(mark)))?;
                // The next atomic has nothing to fear from this one, but still from the reads before it.
                if cell[LATEST] != 0 {
                    cell[WRITE] = cell[LATEST] | WAS_READ;
                }
                cell[LATEST..].fill(0);
            }
            share(cell, me, clock);
            cell[LATEST] |= ATOMIC;
        }
        Access::Write | Access::Issue | Access::Land => {
            if !fresh && cell[LATEST] != 0 {
                let is_atomic = cell[LATEST] & ATOMIC != 0;
                let conflict = if is_atomic { Conflict::Atomic } else { Conflict::Read };
                others(cell, me, clock).map_or(Ok(()), |mark| Err(conflict(mark)))?;
            }
            *cell = [me | if access == Access::Issue { FLIGHT } else { 0 }, 0, 0, 0];
        }
    }
    Ok(())
}

/// The reader, or atomic, that is not ordered with `me`.
#[inline]
fn others(cell: &Cell, me: Mark, clock: &Clock) -> Option<Mark> {
    cell[LATEST..].iter().copied().find(|&mark| mark != 0 && !ordered(mark, me, clock))
}

/// A plain read ends a row of atomics: the latest becomes the last write.
#[cold]
fn after_atomics(cell: &mut Cell, me: Mark, clock: &Clock) -> Result<(), Conflict> {
    others(cell, me, clock).map_or(Ok(()), |mark| Err(Conflict::Atomic(mark)))?;
    cell[WRITE] = cell[LATEST] & !FLAGS | WAS_ATOMIC;
    cell[LATEST..].fill(0);
    Ok(())
}

/// Puts `me` first among the readers.
#[inline]
fn share(cell: &mut Cell, me: Mark, clock: &Clock) {
    let latest = cell[LATEST];
    let here = moment(latest) >= clock.first;
    if latest != 0 && !(here && thread(latest) == thread(me)) {
        let same_warp = here && thread(latest) / 32 == thread(me) / 32;
        // A reader of another block is never ordered, so it stays.
        let keep = here && cell[OTHER_WARP] != 0 && moment(cell[OTHER_WARP]) < clock.first;
        if !same_warp && !keep {
            cell[OTHER_WARP] = latest;
        }
        cell[OTHER_THREAD] = latest;
    }
    cell[LATEST] = me;
}
