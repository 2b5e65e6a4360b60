//! What launches move: bytes of global memory, sectors of warps' requests, turns at the banks of shared memory.
//!
//! A request is what the lanes of a warp ask for at one place in the code, each for its so-manieth time there. What the
//! host compiler split, words that a lane takes one after the other from the same 16 bytes, counts as one access.
use crate::block::WARP;
use crate::check::Request;
use crate::memory;
use crate::shadow::Access;
use crate::shared::SharedMemory;
use crate::site::Place;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bytes that global memory moves at a time.
const SECTOR: usize = 32;

/// Banks of shared memory, each of which gives one word of four bytes in a turn.
const BANKS: usize = 32;

/// Bytes of the widest access.
const WIDEST: usize = 16;

/// What the launches of one kernel moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many there were.
    pub launches: u64,
    /// Bytes of global memory that were read, each sector of 32 once in a launch: what must come from memory.
    pub read: u64,
    /// As `read`, written, by atomic operations too.
    pub written: u64,
    /// Bytes that requests asked global memory for, each once in a request.
    pub asked: u64,
    /// Bytes of the sectors that hold them: what multiprocessors move without their first-level cache.
    pub moved: u64,
    /// Turns that requests took at shared memory.
    pub turns: u64,
    /// Turns without bank conflicts.
    pub turns_least: u64,
}

/// A request, as its lanes agree on it: warp, place, whether it writes, how many came before.
type Key = (u32, Place, bool, u32);

/// A lane's bytes.
#[derive(Clone, Copy)]
struct Part {
    lane: u32,
    address: usize,
    bytes: usize,
}

/// What a thread did last, which its next access may go on with.
#[derive(Clone, Copy)]
struct Last {
    key: Key,
    /// Its place in the request.
    part: usize,
    end: usize,
}

/// Counts for one launch.
#[derive(Default)]
pub(crate) struct Meter {
    traffic: Traffic,
    read: HashSet<usize>,
    written: HashSet<usize>,
    // Of the block that runs.
    requests: HashMap<Key, Vec<Part>>,
    counts: HashMap<(u32, Place, bool), u32>,
    last: HashMap<u32, Last>,
}

thread_local! {
    static METERED: RefCell<Option<BTreeMap<String, Traffic>>> = const { RefCell::new(None) };
}

/// Stops counting when a run ends, even by a panic.
struct Stop;

impl Drop for Stop {
    fn drop(&mut self) {
        METERED.set(None);
    }
}

/// Does `run` and counts what the checked launches of this OS thread moved meanwhile, by kernel.
pub fn metered<T>(run: impl FnOnce() -> T) -> (T, BTreeMap<String, Traffic>) {
    METERED.set(Some(BTreeMap::new()));
    let stop = Stop;
    let result = run();
    let traffic = METERED.take().unwrap_or_default();
    drop(stop);
    (result, traffic)
}

impl Meter {
    /// For a launch of this OS thread, if it is to be counted.
    pub fn begin() -> Option<Box<Self>> {
        METERED.with_borrow(|metered| metered.is_some()).then(Box::default)
    }

    /// Adds a launch of `kernel` to the counts.
    pub fn end(mut self, kernel: &str) {
        self.traffic.launches = 1;
        self.traffic.read = (self.read.len() * SECTOR) as u64;
        self.traffic.written = (self.written.len() * SECTOR) as u64;
        METERED.with_borrow_mut(|metered| {
            let Some(metered) = metered else { return };
            let sum = metered.entry(kernel.to_owned()).or_default();
            let one = self.traffic;
            *sum = Traffic {
                launches: sum.launches + one.launches,
                read: sum.read + one.read,
                written: sum.written + one.written,
                asked: sum.asked + one.asked,
                moved: sum.moved + one.moved,
                turns: sum.turns + one.turns,
                turns_least: sum.turns_least + one.turns_least,
            };
        });
    }

    /// Notes an access of the block that runs.
    pub fn note(&mut self, request: Request) {
        let Request { thread, address, bytes, place, access, .. } = request;
        let writes = access != Access::Read;
        if let Some(last) = self.last.get_mut(&thread)
            && last.end == address
            && last.key.2 == writes
            && (address + bytes - 1) / WIDEST == (address - 1) / WIDEST
        {
            self.requests.get_mut(&last.key).expect("noted before")[last.part].bytes += bytes;
            last.end += bytes;
            return;
        }
        let count = self.counts.entry((thread, place, writes)).or_default();
        let key = (thread / WARP as u32, place, writes, *count);
        *count += 1;
        let parts = self.requests.entry(key).or_default();
        self.last.insert(thread, Last { key, part: parts.len(), end: address + bytes });
        parts.push(Part { lane: thread % WARP as u32, address, bytes });
    }

    /// Counts the requests of a block that has ended.
    pub fn end_block(&mut self, shared: &SharedMemory) {
        self.last.clear();
        self.counts.clear();
        for ((_, _, writes, _), parts) in std::mem::take(&mut self.requests) {
            if shared.offset(parts[0].address).is_some() {
                self.count_turns(&parts);
            } else if let Some((start, _)) = memory::find(parts[0].address) {
                self.count_sectors(start, &parts, writes);
            }
        }
    }

    /// Of the buffer at `start`, which a GPU would put on a boundary of sectors.
    fn count_sectors(&mut self, start: usize, parts: &[Part], writes: bool) {
        let bytes = |part: &Part| part.address..part.address + part.bytes;
        let asked: HashSet<usize> = parts.iter().flat_map(bytes).collect();
        let sectors: HashSet<usize> =
            asked.iter().map(|address| start.wrapping_add(address.wrapping_sub(start) / SECTOR * SECTOR)).collect();
        self.traffic.asked += asked.len() as u64;
        self.traffic.moved += (sectors.len() * SECTOR) as u64;
        let all = if writes { &mut self.written } else { &mut self.read };
        all.extend(sectors);
    }

    /// Lanes take turns in groups that together ask for at most 128 bytes; in a turn a bank gives one word, to whoever
    /// wants it.
    fn count_turns(&mut self, parts: &[Part]) {
        let widest = parts.iter().map(|part| part.bytes).max().unwrap_or(4).clamp(4, WIDEST);
        let lanes = (WARP * 4 / widest.next_power_of_two()) as u32;
        let mut groups: BTreeMap<u32, [HashSet<usize>; BANKS]> = BTreeMap::new();
        for part in parts {
            let banks = groups.entry(part.lane / lanes).or_default();
            for word in part.address / 4..(part.address + part.bytes).div_ceil(4) {
                banks[word % BANKS].insert(word);
            }
        }
        let most = |banks: &[HashSet<usize>; BANKS]| banks.iter().map(HashSet::len).max().unwrap_or(0) as u64;
        self.traffic.turns += groups.values().map(most).sum::<u64>();
        self.traffic.turns_least += groups.len() as u64;
    }
}

/// Counts an access, if the launch is counted.
///
/// # Safety
/// `this` is the current thread.
pub(crate) unsafe fn note(this: *mut crate::thread::Thread, request: Request) {
    // SAFETY: the block outlives its threads, and only this OS thread touches it.
    if let Some(meter) = unsafe { &mut (*(*this).block).meter } {
        meter.note(request);
    }
}
