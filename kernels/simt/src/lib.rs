//! Runs CUDA C++ kernels on the CPU, one fiber per CUDA thread. Knows nothing of any model.
//!
//! Kernels include `simt.h` where a host compiler builds them; every block barrier, warp instruction and asynchronous
//! copy then comes here. The threads of one block take turns on one OS thread, in an order that the launch's seed
//! decides; blocks spread over the threads of rayon's pool ([`launch`]), or run one by one with every memory access
//! checked ([`launch_checked`]).
//!
//! Emulated: block barriers, named barriers, `__syncwarp`, shuffles, votes, atomics, static and dynamic shared memory,
//! `cp.async` with groups, `ldmatrix`, `mma.sync` for bf16, f16 and int8. A launch that cannot go on ends with a
//! [`Fault`] that says who waits where. The checked build finds accesses out of bounds, freed and misaligned; races in
//! a block, between lanes and between blocks; shared memory that nobody wrote; copies used before they have landed; and
//! what C++ leaves undefined.
//!
//! Not emulated: weak memory order (writes are seen at once, and a fence orders nothing between blocks), time,
//! registers, caches, the PTX text itself, `wgmma`, TMA, `mbarrier` and clusters. Sums of `mma` are exact f32
//! additions in order of k, which a GPU does not promise.
//!
//! `block` schedules, `collective`, `copy` and `mma` execute, `shared` owns shared memory; `check` looks accesses up,
//! `shadow` remembers them, `clock` knows which are ordered, `site` turns addresses of code into lines; `skip` leaves a
//! barrier out, for tests of tests; `meter` counts what a launch moves.
#![allow(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

use rayon::prelude::*;
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

mod block;
mod check;
mod clock;
mod collective;
mod copy;
mod fault;
mod memory;
mod meter;
mod mma;
#[cfg(test)]
mod order_tests;
mod shadow;
mod shared;
mod site;
mod skip;
mod thread;
mod undefined;

pub use fault::Fault;
pub use memory::{announce_buffer, forget_buffer};
pub use meter::{Traffic, metered};
pub use skip::without_sync;

/// A kernel as the host compiler built it; takes the address of its parameter block.
pub type Entry = unsafe extern "C" fn(params: *const c_void);

/// The shape of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks along x, y, z.
    pub blocks: [u32; 3],
    /// Threads of a block along x, y, z; a multiple of 32 in all.
    pub threads: [u32; 3],
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
}

thread_local! {
    static WORKER: RefCell<block::Worker> = RefCell::new(block::Worker::new());
}

/// Runs a kernel to its end. Seed 0 runs threads in order; any other seed in an order of its own.
///
/// # Errors
/// The first [`Fault`] that a thread ran into; memory then holds whatever was written before.
///
/// # Safety
/// `entry` takes a parameter block like `params`, and the addresses in it are valid for what the kernel does.
pub unsafe fn launch(entry: Entry, grid: Grid, params: &[u8], seed: u64) -> Result<(), Fault> {
    check(grid)?;
    let skip = skip::current();
    let launch = block::Launch { entry, params, grid, seed, skip: skip.as_ref() };
    let blocks = block_count(grid);
    let stop = AtomicBool::new(false);
    let run = |index: u64| {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let result = WORKER.with_borrow_mut(|worker| worker.run(launch, place(index, blocks, seed)));
        if result.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        result
    };
    if blocks == 1 { run(0) } else { (0..blocks).into_par_iter().map(run).collect() }
}

/// As [`launch`], for the kernel `name`, compiled so that it reports its memory accesses. Blocks run one by one.
///
/// # Errors
/// As [`launch`], and for the first access that no correct kernel makes.
///
/// # Safety
/// As [`launch`].
pub unsafe fn launch_checked(name: &str, entry: Entry, grid: Grid, params: &[u8], seed: u64) -> Result<(), Fault> {
    check(grid)?;
    let skip = skip::current();
    let launch = block::Launch { entry, params, grid, seed, skip: skip.as_ref() };
    let blocks = block_count(grid);
    let order = (0..blocks).map(|index| place(index, blocks, seed));
    let result = WORKER.with_borrow_mut(|worker| worker.run_checked(name, launch, order));
    result.map_err(|fault| fault.in_kernel(name))
}

fn block_count(grid: Grid) -> u64 {
    grid.blocks.iter().map(|&count| u64::from(count)).product()
}

/// The block that runs as number `index`: odd seeds go from the last to the first.
fn place(index: u64, blocks: u64, seed: u64) -> u64 {
    if seed & 1 == 1 { blocks - 1 - index } else { index }
}

fn check(grid: Grid) -> Result<(), Fault> {
    let threads: u64 = grid.threads.iter().map(|&count| u64::from(count)).product();
    if threads == 0 || threads > 1024 || !threads.is_multiple_of(32) {
        return Err(Fault::new(format!("{threads} threads in a block, wanted a multiple of 32 up to 1024")));
    }
    if grid.blocks.contains(&0) {
        return Err(Fault::new(format!("a grid of {:?} blocks", grid.blocks)));
    }
    let wanted = grid.shared_bytes as usize;
    let most = shared::SharedMemory::dynamic_max();
    if wanted > most {
        return Err(Fault::new(format!("{wanted} bytes of dynamic shared memory, at most {most}")));
    }
    Ok(())
}
