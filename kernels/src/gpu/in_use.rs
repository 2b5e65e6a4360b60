//! Memory that recorded graphs use: a graph may be replayed after a tensor of it is gone, so its memory waits.
//!
//! One rule for the driver and the emulator. Memory that no op was given while a graph was recorded is freed at once.
use std::collections::HashMap;
use std::ops::Range;

/// Which addresses each graph uses, and the blocks that wait for graphs. `Block` is what a device frees.
pub(super) struct InUse<Block> {
    /// By the graph's number.
    graphs: HashMap<u64, Vec<Range<usize>>>,
    waiting: Vec<(Range<usize>, Block)>,
    /// The graph that is being recorded.
    recording: Option<u64>,
    /// The number of the next graph.
    next: u64,
}

impl<Block> Default for InUse<Block> {
    fn default() -> Self {
        Self { graphs: HashMap::new(), waiting: Vec::new(), recording: None, next: 0 }
    }
}

impl<Block> InUse<Block> {
    /// Begins a recording; gives the graph's number.
    ///
    /// # Panics
    /// If one is being recorded.
    pub fn record(&mut self) -> u64 {
        assert!(self.recording.is_none(), "one graph is recorded at a time");
        let graph = self.next;
        self.next += 1;
        self.graphs.insert(graph, Vec::new());
        self.recording = Some(graph);
        graph
    }

    /// Notes addresses that an op was given; they count for the graph that is being recorded, if one is.
    pub fn note(&mut self, bytes: Range<usize>) {
        let uses = self.recording.and_then(|graph| self.graphs.get_mut(&graph));
        if let Some(uses) = uses.filter(|uses| !bytes.is_empty() && !uses.contains(&bytes)) {
            uses.push(bytes);
        }
    }

    /// Ends the recording; gives the blocks that came in meanwhile and that no graph uses.
    #[must_use = "these blocks are to be freed"]
    pub fn recorded(&mut self) -> Vec<Block> {
        self.recording = None;
        self.unused()
    }

    /// Takes a block whose tensor is gone; gives it back if it may be freed now.
    #[must_use = "this block is to be freed"]
    pub fn retire(&mut self, bytes: Range<usize>, block: Block) -> Option<Block> {
        // What the recording has used so far is known, what it will use is not; and a driver frees nothing meanwhile.
        if self.recording.is_some() || self.is_used(&bytes) {
            self.waiting.push((bytes, block));
            return None;
        }
        Some(block)
    }

    /// Forgets a graph that is gone, or whose recording failed; gives the blocks that waited for it alone.
    #[must_use = "these blocks are to be freed"]
    pub fn forget(&mut self, graph: u64) -> Vec<Block> {
        self.graphs.remove(&graph);
        self.recording = self.recording.filter(|&recording| recording != graph);
        self.unused()
    }

    fn unused(&mut self) -> Vec<Block> {
        if self.recording.is_some() {
            return Vec::new();
        }
        let mut waiting = std::mem::take(&mut self.waiting);
        let unused = waiting.extract_if(.., |(bytes, _)| !self.is_used(bytes)).map(|(_, block)| block).collect();
        self.waiting = waiting;
        unused
    }

    fn is_used(&self, bytes: &Range<usize>) -> bool {
        let meets = |used: &Range<usize>| used.start < bytes.end && bytes.start < used.end;
        self.graphs.values().flatten().any(meets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A graph that was given the addresses.
    fn graph(memory: &mut InUse<&str>, uses: impl IntoIterator<Item = Range<usize>>) -> u64 {
        let graph = memory.record();
        uses.into_iter().for_each(|bytes| memory.note(bytes));
        assert!(memory.recorded().is_empty());
        graph
    }

    #[test]
    fn memory_that_no_recording_was_given_is_freed_at_once() {
        let mut memory = InUse::default();
        memory.note(0..10);
        assert_eq!(memory.retire(0..10, "noted while nothing was recorded"), Some("noted while nothing was recorded"));
        graph(&mut memory, [100..200, 300..300]);
        assert_eq!(memory.retire(0..100, "before"), Some("before"));
        assert_eq!(memory.retire(200..210, "after"), Some("after"));
        assert_eq!(memory.retire(290..310, "nothing of it was used"), Some("nothing of it was used"));
        assert_eq!(memory.retire(190..191, "inside"), None);
    }

    /// A block that two graphs use is freed with the second; what waited for the first alone is freed with the first.
    #[test]
    fn a_block_waits_for_all_its_graphs() {
        let mut memory = InUse::default();
        let first = graph(&mut memory, [0..16, 64..80]);
        let second = graph(&mut memory, Some(72..96));
        assert_eq!(memory.retire(0..32, "first's"), None);
        assert_eq!(memory.retire(64..96, "both's"), None);
        assert_eq!(memory.forget(first), ["first's"]);
        // The address of a block that was freed, given out again.
        assert_eq!(memory.retire(0..32, "at first's place"), Some("at first's place"));
        assert_eq!(memory.forget(second), ["both's"]);
        assert_eq!(memory.retire(64..96, "at both's place"), Some("at both's place"));
    }

    /// Whatever is dropped while a graph is recorded waits for the end of the recording, which may use it yet.
    #[test]
    fn nothing_is_freed_while_a_graph_is_recorded() {
        let mut memory = InUse::default();
        let old = graph(&mut memory, Some(0..8));
        let new = memory.record();
        assert_eq!(memory.retire(0..8, "old's"), None);
        assert_eq!(memory.retire(8..16, "nobody's"), None);
        assert_eq!(memory.retire(16..24, "new's"), None);
        memory.note(16..20);
        assert!(memory.forget(old).is_empty(), "the recording goes on");
        assert_eq!(memory.recorded(), ["old's", "nobody's"]);
        assert_eq!(memory.forget(new), ["new's"]);
    }

    /// A recording that fails uses nothing, and the next one begins.
    #[test]
    fn a_failed_recording_keeps_nothing() {
        let mut memory = InUse::default();
        let failed = memory.record();
        memory.note(0..8);
        assert_eq!(memory.retire(0..8, "given to it"), None);
        assert_eq!(memory.forget(failed), ["given to it"]);
        let next = graph(&mut memory, Some(0..8));
        assert_ne!(next, failed);
        assert_eq!(memory.retire(0..8, "next's"), None);
    }
}
