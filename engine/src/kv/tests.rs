//! Pages under random use: none is lost, none is in two hands that both write.
use super::*;
use med2e3_kernels::PAGE_TOKENS;
use med2e3_kernels::ops::sample::philox;
use std::collections::{HashMap, HashSet};

/// A cache of `PAGES` pages, as a schedule uses it.
const PAGES: usize = 40;

/// Tokens that a sequence may reach.
const TOKENS_MAX: usize = 5 * PAGE_TOKENS;

/// What the pages would hold: which token of which history lies in each place.
struct Model {
    pages: Pages,
    running: Vec<(Sequence, Vec<u64>)>,
    /// What each kept beginning holds, for those that were not given up.
    beginnings: HashMap<u64, Vec<u64>>,
    /// The contents of each place of each page.
    memory: Vec<[u64; PAGE_TOKENS]>,
    draws: u64,
    written: u64,
}

fn key(volume: u64) -> PrefixKey {
    PrefixKey { volume, before: vec![1, 2], long: false }
}

impl Model {
    fn new() -> Self {
        let memory = vec![[0; PAGE_TOKENS]; PAGES];
        let running = Vec::new();
        let beginnings = HashMap::new();
        Self { pages: Pages::new(PAGES), running, beginnings, memory, draws: 0, written: 0 }
    }

    fn draw(&mut self, seed: u64, below: usize) -> usize {
        self.draws += 1;
        (philox::uniform(seed, self.draws) * below as f32) as usize
    }

    /// Writes `count` new tokens behind a sequence, whose pages suffice.
    fn write(&mut self, sequence: &mut Sequence, history: &mut Vec<u64>, count: usize) {
        for _ in 0..count {
            let at = sequence.tokens();
            self.written += 1;
            self.memory[sequence.pages()[at / PAGE_TOKENS] as usize][at % PAGE_TOKENS] = self.written;
            sequence.append(1);
            history.push(self.written);
        }
    }

    /// A question about a volume comes: its beginning is kept, or it computes and keeps one, often together with rows
    /// of its own.
    fn begin(&mut self, seed: u64) {
        let volume = self.draw(seed, 6) as u64;
        if !self.pages.has_prefix(&key(volume)) {
            let shared = 1 + self.draw(seed, 2 * PAGE_TOKENS + 1);
            let own = self.draw(seed, PAGE_TOKENS);
            let mut sequence = Sequence::new(false);
            let mut history = Vec::new();
            if !self.pages.grow(&mut sequence, shared + own) {
                return;
            }
            self.write(&mut sequence, &mut history, shared + own);
            let memory = &mut self.memory;
            let copy = |from: u32, to: u32| -> Result<(), ()> {
                memory[to as usize] = memory[from as usize];
                Ok(())
            };
            self.pages.keep(key(volume), &sequence, shared, copy).expect("it was copied");
            self.beginnings.insert(volume, history[..shared].to_vec());
            self.running.push((sequence, history));
            return;
        }
        let memory = &mut self.memory;
        let copy = |from: u32, to: u32| -> Result<(), ()> {
            memory[to as usize] = memory[from as usize];
            Ok(())
        };
        let fork = self.pages.fork(&key(volume), copy).expect("it is kept").expect("it was copied");
        let history = self.beginnings[&volume].clone();
        assert_eq!(fork.tokens(), history.len());
        self.running.push((fork, history));
    }

    /// A running sequence grows by up to a page, unless the cache is full.
    fn grow(&mut self, seed: u64) {
        if self.running.is_empty() {
            return;
        }
        let at = self.draw(seed, self.running.len());
        let (mut sequence, mut history) = self.running.swap_remove(at);
        let count = (1 + self.draw(seed, PAGE_TOKENS)).min(TOKENS_MAX - sequence.tokens());
        let lacks = sequence.lacks(sequence.tokens() + count);
        let available = self.pages.available();
        let grown = self.pages.grow(&mut sequence, history.len() + count);
        assert_eq!(grown, lacks <= available, "{lacks} of {available}");
        if grown {
            self.write(&mut sequence, &mut history, count);
        }
        self.running.push((sequence, history));
    }

    /// Every sequence still reads what was written for it, and every page is somewhere.
    fn check(&self) {
        let mut held: HashSet<u32> = HashSet::new();
        for (sequence, history) in &self.running {
            for (at, want) in history.iter().enumerate() {
                let page = sequence.pages()[at / PAGE_TOKENS];
                assert_eq!(self.memory[page as usize][at % PAGE_TOKENS], *want, "token {at}");
            }
            held.extend(sequence.pages());
        }
        assert_eq!(held.len() + self.pages.available(), PAGES, "a page is lost or is in two hands");
    }
}

/// Questions come, grow and go in random order; the next beginning takes the place of one that is used no more.
fn run(seed: u64, steps: usize, check_every: usize) {
    let mut model = Model::new();
    for step in 0..steps {
        match model.draw(seed, 8) {
            0 => model.begin(seed),
            1 if !model.running.is_empty() => {
                let at = model.draw(seed, model.running.len());
                model.running.swap_remove(at);
            }
            _ => model.grow(seed),
        }
        if step % check_every == 0 {
            model.check();
        }
    }
    model.check();
    model.running.clear();
    assert_eq!(model.pages.available(), PAGES, "all come back");
}

#[test]
fn no_page_is_lost_or_shared_by_writers() {
    for seed in 0..20 {
        run(seed, 2_000, 7);
    }
    run(99, 1_000_000, 9_973);
}

#[test]
fn a_beginning_gives_way_to_sequences_and_is_taken_over_where_nothing_else_is_left() {
    let mut pages = Pages::new(3);
    let never = |_, _| -> Result<(), ()> { panic!("there is no page for a copy") };
    let mut sequence = Sequence::new(false);
    assert!(pages.grow(&mut sequence, PAGE_TOKENS + 1));
    sequence.append(PAGE_TOKENS + 1);
    let copied = |_, _| -> Result<(), ()> { Ok(()) };
    pages.keep(key(0), &sequence, PAGE_TOKENS + 1, copied).unwrap();
    assert_eq!((pages.available(), pages.has_prefix(&key(0))), (1, true), "its copy of the last page");
    drop(sequence);
    assert_eq!(pages.available(), 3);
    let mut other = Sequence::new(false);
    assert!(pages.grow(&mut other, 1));
    let fork = pages.fork(&key(0), never).unwrap().unwrap();
    assert_eq!((fork.pages().len(), fork.tokens()), (2, PAGE_TOKENS + 1));
    assert!(!pages.has_prefix(&key(0)) && pages.available() == 0);
    assert!(!pages.grow(&mut Sequence::new(false), 1), "nothing is left");
    pages.keep(key(0), &fork, PAGE_TOKENS + 1, never).unwrap();
    assert!(!pages.has_prefix(&key(0)), "nor for a copy");
    pages.keep(key(0), &fork, PAGE_TOKENS, never).unwrap();
    assert!(pages.has_prefix(&key(0)), "a full page is shared");
    drop((fork, other));
    assert!(pages.grow(&mut Sequence::new(false), 3 * PAGE_TOKENS));
}

/// A copy that fails leaves the beginning and all pages where they were.
#[test]
fn a_copy_that_fails_takes_nothing() {
    let mut pages = Pages::new(3);
    let mut prefix = Sequence::new(true);
    assert!(pages.grow(&mut prefix, 3));
    prefix.append(3);
    let key = PrefixKey { long: true, ..key(4) };
    assert_eq!(pages.keep(key.clone(), &prefix, 3, |_, _| Err("lost")), Err("lost"));
    assert!(!pages.has_prefix(&key) && pages.available() == 2);
    pages.keep(key.clone(), &prefix, 3, |_, _| Ok::<_, ()>(())).unwrap();
    drop(prefix);
    assert_eq!(pages.fork(&key, |_, _| Err("lost")).unwrap().err(), Some("lost"));
    assert!(pages.has_prefix(&key));
    assert_eq!(pages.available(), 3);
    assert!(pages.fork::<()>(&PrefixKey { long: false, ..key }, |_, _| Ok(())).is_none(), "another rotary table");
}
