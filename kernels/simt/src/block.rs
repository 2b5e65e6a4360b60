//! One block: its fibers, what they wait for, and the order in which they run.
use crate::check::Checker;
use crate::fault::{Fault, coordinates};
use crate::meter::Meter;
use crate::shared::SharedMemory;
use crate::site::Site;
use crate::skip::Skip;
use crate::thread::{Thread, set_current};
use crate::{Entry, Grid};
use corosensei::stack::{DefaultStack, Stack};
use corosensei::{Coroutine, CoroutineResult};
use std::ffi::{c_char, c_void};
use std::sync::Arc;

type Fiber = Coroutine<(), (), (), DefaultStack>;

/// Bytes of one fiber's stack: kernels keep little on it, and pages that are never touched cost nothing.
const STACK_BYTES: usize = 64 << 10;

/// Lanes of a warp.
pub(crate) const WARP: usize = 32;

/// A warp instruction that some lanes have reached.
pub(crate) struct Pending {
    pub mask: u32,
    pub arrived: u32,
    pub kind: u32,
    pub site: Site,
    pub payloads: [*mut c_void; WARP],
}

/// 32 threads.
#[derive(Default)]
pub(crate) struct Warp {
    /// Lanes that can run.
    pub ready: u32,
    /// Lanes that have not returned.
    pub live: u32,
    pub pending: Vec<Pending>,
}

/// A block barrier that some threads have reached.
struct Barrier {
    id: u32,
    /// How many threads it waits for; all that live without a number.
    wanted: Option<u32>,
    arrived: u32,
    /// Lanes of each warp.
    waiting: Vec<u32>,
    site: Site,
}

/// What decides the order of threads; a pure function of the launch's seed and the block.
struct Order {
    state: u64,
    seeded: bool,
}

impl Order {
    fn new(seed: u64, block: u64) -> Self {
        let state = (seed ^ block.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD134_2543_DE82_EF95) | 1;
        Self { state, seeded: seed != 0 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    /// One of the `count` choices; the first without a seed.
    fn choose(&mut self, count: usize) -> usize {
        if self.seeded { (self.next() >> 33) as usize % count } else { 0 }
    }
}

/// The state of the block that a worker runs.
pub(crate) struct Block {
    pub warps: Vec<Warp>,
    pub live: u32,
    barriers: Vec<Barrier>,
    pub shared: SharedMemory,
    pub fault: Option<Fault>,
    /// Whether copies land when they are issued (as early as the hardware may) or when they are waited for.
    pub copies_land_early: bool,
    /// In a checked launch.
    pub checker: Option<Box<Checker>>,
    /// In a checked launch that is counted.
    pub meter: Option<Box<Meter>>,
    /// A synchronisation that is left out.
    skip: Option<Arc<Skip>>,
}

/// What one OS thread keeps between blocks and launches.
pub(crate) struct Worker {
    stacks: Vec<DefaultStack>,
    threads: Vec<Thread>,
    fibers: Vec<Option<Fiber>>,
    block: Block,
    /// Kept between checked launches.
    checker: Option<Box<Checker>>,
}

/// What a block needs to know about its launch.
#[derive(Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub entry: Entry,
    pub params: &'a [u8],
    pub grid: Grid,
    pub seed: u64,
    pub skip: Option<&'a Arc<Skip>>,
}

impl Block {
    /// Whether the synchronisation at `site` is left out.
    pub fn skips(&self, site: Site) -> bool {
        self.skip.as_ref().is_some_and(|skip| skip.meets(site))
    }

    /// A thread reached a block barrier. True if it may go on.
    fn arrive(&mut self, thread: &Thread, id: u32, threads: u32, site: Site) -> Result<bool, Fault> {
        let wanted = (threads > 0).then_some(threads);
        let index = match self.barriers.iter().position(|barrier| barrier.id == id) {
            Some(index) => index,
            None => {
                let waiting = vec![0; self.warps.len()];
                self.barriers.push(Barrier { id, wanted, arrived: 0, waiting, site });
                self.barriers.len() - 1
            }
        };
        let barrier = &mut self.barriers[index];
        if barrier.site != site || barrier.wanted != wanted {
            return Err(Fault::new(format!(
                "threads of one block wait at different barriers: {} and {site}",
                barrier.site
            )));
        }
        barrier.arrived += 1;
        barrier.waiting[thread.warp as usize] |= 1 << thread.lane;
        if barrier.arrived < barrier.wanted.unwrap_or(self.live) {
            return Ok(false);
        }
        self.release(index);
        Ok(true)
    }

    /// Lets the threads of a complete barrier go on.
    fn release(&mut self, index: usize) {
        let barrier = self.barriers.swap_remove(index);
        if let Some(checker) = &mut self.checker {
            match barrier.arrived == self.live {
                true => checker.clock.sync_block(),
                false => checker.clock.sync_some(threads_of(&barrier.waiting)),
            }
        }
        for (warp, waiting) in self.warps.iter_mut().zip(barrier.waiting) {
            warp.ready |= waiting;
        }
    }

    /// A warp instruction ended: its lanes are ordered.
    pub fn meet(&mut self, warp: usize, mask: u32) {
        let Some(checker) = &mut self.checker else { return };
        let lanes = (0..32).filter(move |lane| mask >> lane & 1 == 1).map(move |lane| warp as u32 * 32 + lane);
        match self.warps[warp].live & !mask {
            0 => checker.clock.sync_warp(warp, lanes),
            _ => checker.clock.sync_some(lanes),
        }
    }

    /// A thread returned; a barrier that waits for every living thread may now be complete.
    fn leave(&mut self, warp: usize, lane: u32) {
        self.live -= 1;
        self.warps[warp].live &= !(1 << lane);
        let complete = |barrier: &Barrier| barrier.wanted.is_none() && barrier.arrived == self.live;
        if let Some(index) = self.barriers.iter().position(complete) {
            self.release(index);
        }
    }

    /// What the block waits for when nobody can run.
    fn deadlock(&self) -> Fault {
        let mut waits: Vec<String> = Vec::new();
        for barrier in &self.barriers {
            let wanted = barrier.wanted.unwrap_or(self.live);
            waits.push(format!("{} of {wanted} threads wait at {}", barrier.arrived, barrier.site));
        }
        for (index, warp) in self.warps.iter().enumerate() {
            for pending in &warp.pending {
                let missing = pending.mask & !pending.arrived;
                waits.push(format!("warp {index} lacks lanes {missing:#010x} at {}", pending.site));
            }
        }
        waits.truncate(4);
        Fault::new(format!("deadlock: {}", waits.join("; ")))
    }
}

impl Worker {
    pub fn new() -> Self {
        let block = Block {
            warps: Vec::new(),
            live: 0,
            barriers: Vec::new(),
            shared: SharedMemory::new(),
            fault: None,
            copies_land_early: false,
            checker: None,
            meter: None,
            skip: None,
        };
        Self { stacks: Vec::new(), threads: Vec::new(), fibers: Vec::new(), block, checker: None }
    }

    /// Runs the blocks `order` of the kernel `name` one after the other, checked.
    pub fn run_checked(
        &mut self,
        name: &str,
        launch: Launch<'_>,
        mut order: impl Iterator<Item = u64>,
    ) -> Result<(), Fault> {
        let mut checker = self.checker.take().unwrap_or_else(|| Box::new(Checker::new(&self.block.shared)));
        checker.begin_launch(launch.params, launch.grid.threads);
        self.block.checker = Some(checker);
        self.block.meter = Meter::begin();
        let result = order.try_for_each(|index| self.run(launch, index));
        self.checker = self.block.checker.take();
        if let Some(meter) = self.block.meter.take() {
            meter.end(name);
        }
        result
    }

    /// Runs one block to its end.
    pub fn run(&mut self, launch: Launch<'_>, index: u64) -> Result<(), Fault> {
        let [x, y, _] = launch.grid.blocks.map(u64::from);
        let block_idx = [index % x, index / x % y, index / (x * y)].map(|at| at as u32);
        let mut order = Order::new(launch.seed, index);
        self.prepare(launch, block_idx, &mut order);
        while self.block.live > 0 && self.block.fault.is_none() {
            let mut ready = 0u32;
            for (index, warp) in self.block.warps.iter().enumerate() {
                ready |= u32::from(warp.ready != 0) << index;
            }
            if ready == 0 {
                self.block.fault = Some(self.block.deadlock());
                break;
            }
            for _ in 0..order.choose(ready.count_ones() as usize) {
                ready &= ready - 1;
            }
            self.run_warp(ready.trailing_zeros() as usize, &mut order);
        }
        self.clean();
        if let Some(meter) = &mut self.block.meter {
            meter.end_block(&self.block.shared);
        }
        match self.block.fault.take() {
            Some(fault) => Err(fault.in_block(block_idx)),
            None => Ok(()),
        }
    }

    /// Runs lanes of one warp: until it waits, or, under some seeds, one lane only.
    fn run_warp(&mut self, warp: usize, order: &mut Order) {
        let one_lane = order.choose(4) == 3;
        let descending = order.choose(2) == 1;
        while self.block.warps[warp].ready != 0 && self.block.fault.is_none() {
            let ready = self.block.warps[warp].ready;
            let lane = if descending { 31 - ready.leading_zeros() } else { ready.trailing_zeros() };
            self.resume(warp, lane);
            if one_lane {
                return;
            }
        }
    }

    fn resume(&mut self, warp: usize, lane: u32) {
        let linear = warp * WARP + lane as usize;
        self.block.warps[warp].ready &= !(1 << lane);
        set_current(&raw mut self.threads[linear]);
        let fiber = self.fibers[linear].as_mut().expect("ready threads have fibers");
        if let CoroutineResult::Return(()) = fiber.resume(()) {
            self.stacks.extend(self.fibers[linear].take().map(Coroutine::into_stack));
            self.block.leave(warp, lane);
        }
        set_current(std::ptr::null_mut());
    }

    fn prepare(&mut self, launch: Launch<'_>, block_idx: [u32; 3], order: &mut Order) {
        let grid = launch.grid;
        let count = grid.threads.iter().product::<u32>();
        self.block.warps.clear();
        self.block.warps.resize_with(count as usize / WARP, || Warp { ready: !0, live: !0, ..Warp::default() });
        self.block.live = count;
        self.block.skip = launch.skip.cloned();
        if let Some(checker) = &mut self.block.checker {
            checker.begin_block(block_idx);
        }
        self.block.barriers.clear();
        self.block.shared.reset(grid.shared_bytes as usize);
        self.block.copies_land_early = order.seeded && order.next() >> 63 == 1;
        self.fibers.resize_with(count as usize, || None);
        while self.threads.len() < count as usize {
            self.threads.push(Thread::new());
        }
        for linear in 0..count {
            let thread = &mut self.threads[linear as usize];
            thread.thread_idx = coordinates(linear, grid.threads);
            (thread.block_idx, thread.block_dim, thread.grid_dim) = (block_idx, grid.threads, grid.blocks);
            (thread.linear, thread.lane, thread.warp) = (linear, linear % 32, linear / 32);
            (thread.dynamic_shared, thread.block) = (self.block.shared.dynamic(), &raw mut self.block);
            (thread.open, thread.yielder) = (0, std::ptr::null());
            thread.copies.clear();
            thread.groups.clear();
            let stack =
                self.stacks.pop().unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
            thread.stack_low = stack.limit().get();
            thread.stack_bytes = stack.base().get() - stack.limit().get();
            self.fibers[linear as usize] = Some(fiber(stack, thread, launch));
        }
    }

    /// Abandons the fibers of a block that failed.
    fn clean(&mut self) {
        for fiber in &mut self.fibers {
            if let Some(mut fiber) = fiber.take() {
                // SAFETY: kernels hold nothing that must be dropped; C++ frames are left as they are.
                unsafe { fiber.force_reset() };
                self.stacks.push(fiber.into_stack());
            }
        }
    }
}

/// The thread numbers in the lanes of each warp.
fn threads_of(waiting: &[u32]) -> impl Iterator<Item = u32> + Clone {
    let lanes = |mask: u32| (0..32).filter(move |lane| mask >> lane & 1 == 1);
    waiting.iter().enumerate().flat_map(move |(warp, &mask)| lanes(mask).map(move |lane| warp as u32 * 32 + lane))
}

fn fiber(stack: DefaultStack, thread: *mut Thread, launch: Launch<'_>) -> Fiber {
    let entry = launch.entry;
    let params = launch.params.as_ptr();
    Coroutine::with_stack(stack, move |yielder, ()| {
        // SAFETY: the thread outlives its fiber; the caller of `launch` vouches for entry and parameters.
        unsafe {
            (*thread).yielder = yielder;
            entry(params.cast());
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_barrier(id: u32, threads: u32, file: *const c_char, line: i32) {
    let this = crate::thread::current();
    let site = Site { file, line };
    // SAFETY: kernels call this from their fiber, where the current thread and its block are alive; the block is
    // touched by this OS thread alone.
    unsafe {
        let block = &mut *(*this).block;
        if block.skips(site) {
            return;
        }
        match block.arrive(&*this, id, threads, site) {
            // The last one goes on at once; it marked itself ready with the others.
            Ok(true) => block.warps[(*this).warp as usize].ready &= !(1 << (*this).lane),
            Ok(false) => Thread::suspend(this),
            Err(fault) => crate::fault::stop(this, fault),
        }
    }
}
