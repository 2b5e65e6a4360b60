//! One block: its fibers, what they wait for, and the order in which they run.
use crate::fault::{Fault, Site};
use crate::shared::SharedMemory;
use crate::thread::{Thread, set_current};
use crate::{Entry, Grid};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use std::ffi::{c_char, c_void};

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
    /// Counts the moments at which lanes of this warp are ordered with each other.
    pub epoch: u32,
}

/// A block barrier that some threads have reached.
struct Barrier {
    id: u32,
    wanted: u32,
    arrived: u32,
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
    /// Counts the block barriers that were passed.
    pub epoch: u32,
    pub shared: SharedMemory,
    pub fault: Option<Fault>,
    pub block_idx: [u32; 3],
    /// Whether copies land when they are issued (as early as the hardware may) or when they are waited for.
    pub copies_land_early: bool,
}

/// What one OS thread keeps between blocks and launches.
pub(crate) struct Worker {
    stacks: Vec<DefaultStack>,
    threads: Vec<Thread>,
    fibers: Vec<Option<Fiber>>,
    block: Block,
}

/// What a block needs to know about its launch.
#[derive(Clone, Copy)]
pub(crate) struct Launch<'a> {
    pub entry: Entry,
    pub params: &'a [u8],
    pub grid: Grid,
    pub seed: u64,
}

impl Block {
    /// A thread reached a block barrier. True if it may go on.
    pub fn arrive(&mut self, thread: &Thread, id: u32, threads: u32, site: Site) -> Result<bool, Fault> {
        let index = match self.barriers.iter().position(|barrier| barrier.id == id) {
            Some(index) => index,
            None => {
                let wanted = if threads == 0 { self.live } else { threads };
                let waiting = vec![0; self.warps.len()];
                self.barriers.push(Barrier { id, wanted, arrived: 0, waiting, site });
                self.barriers.len() - 1
            }
        };
        let barrier = &mut self.barriers[index];
        if barrier.site != site {
            return Err(Fault::new(format!(
                "threads of one block wait at different barriers: {} and {site}",
                barrier.site
            )));
        }
        barrier.arrived += 1;
        barrier.waiting[thread.warp as usize] |= 1 << thread.lane;
        if barrier.arrived < barrier.wanted {
            return Ok(false);
        }
        let barrier = self.barriers.swap_remove(index);
        for (warp, waiting) in self.warps.iter_mut().zip(barrier.waiting) {
            warp.ready |= waiting;
        }
        self.epoch += 1;
        Ok(true)
    }

    /// A thread returned; barriers that wait for every living thread may now be complete.
    fn leave(&mut self, warp: usize, lane: u32) {
        self.live -= 1;
        self.warps[warp].live &= !(1 << lane);
    }

    /// What the block waits for when nobody can run.
    fn deadlock(&self) -> Fault {
        let mut waits: Vec<String> = Vec::new();
        for barrier in &self.barriers {
            waits.push(format!("{} of {} threads wait at {}", barrier.arrived, barrier.wanted, barrier.site));
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
            epoch: 0,
            shared: SharedMemory::new(),
            fault: None,
            block_idx: [0; 3],
            copies_land_early: false,
        };
        Self { stacks: Vec::new(), threads: Vec::new(), fibers: Vec::new(), block }
    }

    /// Runs one block to its end.
    pub fn run(&mut self, launch: Launch<'_>, index: u64) -> Result<(), Fault> {
        let [x, y, _] = launch.grid.blocks.map(u64::from);
        let block_idx = [index % x, index / x % y, index / (x * y)].map(|at| at as u32);
        let mut order = Order::new(launch.seed, index);
        self.prepare(launch, block_idx, &mut order);
        while self.block.live > 0 && self.block.fault.is_none() {
            let ready: Vec<usize> = (0..self.block.warps.len()).filter(|&w| self.block.warps[w].ready != 0).collect();
            let Some(&warp) = ready.get(order.choose(ready.len().max(1))) else {
                self.block.fault = Some(self.block.deadlock());
                break;
            };
            self.run_warp(warp, &mut order);
        }
        self.clean();
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
        (self.block.live, self.block.epoch, self.block.block_idx) = (count, 0, block_idx);
        self.block.barriers.clear();
        self.block.shared.reset(grid.shared_bytes as usize);
        self.block.copies_land_early = order.seeded && order.next() >> 63 == 1;
        self.fibers.resize_with(count as usize, || None);
        while self.threads.len() < count as usize {
            self.threads.push(Thread::new());
        }
        for linear in 0..count {
            let [x, y, _] = grid.threads;
            let thread = &mut self.threads[linear as usize];
            thread.thread_idx = [linear % x, linear / x % y, linear / (x * y)];
            (thread.block_idx, thread.block_dim, thread.grid_dim) = (block_idx, grid.threads, grid.blocks);
            (thread.linear, thread.lane, thread.warp) = (linear, linear % 32, linear / 32);
            (thread.dynamic_shared, thread.block) = (self.block.shared.dynamic(), &raw mut self.block);
            (thread.open, thread.yielder) = (0, std::ptr::null());
            thread.copies.clear();
            thread.groups.clear();
            let stack =
                self.stacks.pop().unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
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

fn fiber(stack: DefaultStack, thread: *mut Thread, launch: Launch<'_>) -> Fiber {
    let (entry, params) = (launch.entry, launch.params.as_ptr());
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
    // SAFETY: kernels call this from their fiber, where the current thread and its block are alive; the block is
    // touched by this OS thread alone.
    unsafe {
        match (*(*this).block).arrive(&*this, id, threads, Site { file, line }) {
            Ok(true) => {
                // The last one goes on at once; it marked itself ready with the others.
                (&mut (*(*this).block).warps)[(*this).warp as usize].ready &= !(1 << (*this).lane);
            }
            Ok(false) => Thread::suspend(this),
            Err(fault) => crate::fault::stop(this, fault),
        }
    }
}
