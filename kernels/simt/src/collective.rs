//! Warp instructions: lanes hand in payloads, the last to arrive computes for all.
use crate::block::{Pending, WARP};
use crate::check::{Request, check};
use crate::fault::{Fault, stop};
use crate::meter;
use crate::shadow::Access;
use crate::site::{Place, Site};
use crate::thread::{Thread, current};
use std::ffi::{c_char, c_void};

/// `kSyncWarp` of simt.h.
const SYNC_WARP: u32 = 0;

type Exec = unsafe extern "C" fn(*mut *mut c_void, u32);

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_collective(
    mask: u32,
    kind: u32,
    payload: *mut c_void,
    exec: Exec,
    file: *const c_char,
    line: i32,
) {
    let this = current();
    let site = Site { file, line };
    // SAFETY: kernels call this from their fiber; thread and block are touched by this OS thread alone. Payloads of
    // waiting lanes live on their suspended stacks.
    unsafe {
        let bit = 1u32 << (*this).lane;
        if kind == SYNC_WARP && (*(*this).block).skips(site) {
            return;
        }
        if mask & bit == 0 {
            stop(this, Fault::new(format!("lane {} is not in its own mask {mask:#010x} at {site}", (*this).lane)));
        }
        let warp = &mut (&mut (*(*this).block).warps)[(*this).warp as usize];
        let index = match warp.pending.iter().position(|pending| pending.mask & mask != 0) {
            Some(index) => index,
            None => {
                warp.pending.push(Pending { mask, arrived: 0, kind, site, payloads: [std::ptr::null_mut(); WARP] });
                warp.pending.len() - 1
            }
        };
        let pending = &mut warp.pending[index];
        if pending.mask != mask || pending.kind != kind || pending.site != site {
            let what = format!("lanes of one warp are at different warp instructions: {} and {site}", pending.site);
            stop(this, Fault::new(what));
        }
        pending.arrived |= bit;
        pending.payloads[(*this).lane as usize] = payload;
        if pending.arrived != mask {
            return Thread::suspend(this);
        }
        let mut payloads = pending.payloads;
        exec(payloads.as_mut_ptr(), mask);
        let block = &mut *(*this).block;
        let warp = &mut block.warps[(*this).warp as usize];
        warp.pending.swap_remove(index);
        warp.ready |= mask & !bit;
        block.meet((*this).warp as usize, mask);
        if block.fault.is_some() {
            Thread::suspend(this);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_nothing(_payloads: *mut *mut c_void, _mask: u32) {}

#[repr(C)]
struct Shuffle {
    input: *const u8,
    output: *mut u8,
    bytes: u32,
    source: u32,
    site: Site,
}

#[repr(C)]
struct Vote {
    predicate: u32,
    out: u32,
}

#[repr(C)]
struct LdMatrix {
    row: *const u16,
    out: *mut u32,
    count: u32,
    transposed: u32,
    linear: u32,
    file: *const c_char,
    line: i32,
}

/// The lanes of a mask, in order.
fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..WARP).filter(move |lane| mask >> lane & 1 == 1)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_shuffle(payloads: *mut *mut c_void, mask: u32) {
    // SAFETY: every lane of the mask handed in a `Shuffle` whose pointers are to its own stack.
    unsafe {
        for lane in lanes(mask) {
            let to = &*(*payloads.add(lane)).cast::<Shuffle>();
            if mask >> to.source & 1 == 0 {
                let what = format!("lane {lane} shuffles from lane {}, which takes no part, at {}", to.source, to.site);
                let this = current();
                let linear = (*this).warp * WARP as u32 + lane as u32;
                let fault = Fault::new(what).by_thread(linear, (*this).block_dim);
                (*(*this).block).fault.get_or_insert(fault);
                continue;
            }
            let from = &*(*payloads.add(to.source as usize)).cast::<Shuffle>();
            from.input.copy_to(to.output, to.bytes as usize);
        }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_vote(payloads: *mut *mut c_void, mask: u32) {
    // SAFETY: every lane of the mask handed in a `Vote`.
    unsafe {
        let vote = |lane: usize| (*payloads.add(lane)).cast::<Vote>();
        let ballot = lanes(mask).fold(0, |ballot, lane| ballot | (*vote(lane)).predicate << lane);
        lanes(mask).for_each(|lane| (*vote(lane)).out = ballot);
    }
}

/// Checks the row that a lane points to.
///
/// # Safety
/// Called for a lane of the warp that runs.
unsafe fn readable(from: &LdMatrix) -> Result<(), Fault> {
    let this = current();
    let site = Site { file: from.file, line: from.line };
    let address = from.row.addr();
    let thread = from.linear;
    let place = Place::Source(site);
    // SAFETY: the current thread and its block are alive; the block is touched by this OS thread alone.
    unsafe {
        let refuse = |what: &str| {
            let what = format!("ldmatrix of a row that is not {what} at {site}");
            Err(Fault::new(what).by_thread(thread, (*this).block_dim))
        };
        if !address.is_multiple_of(16) {
            return refuse("on a 16-byte boundary");
        }
        if (*(*this).block).shared.offset(address).is_none() {
            return refuse("in shared memory");
        }
        let name = "ldmatrix";
        let access = Access::Read;
        let request = Request { name, access, address, bytes: 16, thread, place, align: 1 };
        meter::note(this, request);
        check(this, request)
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_ldmatrix(payloads: *mut *mut c_void, _mask: u32) {
    // SAFETY: all 32 lanes handed in an `LdMatrix`; lanes 8i..8i+8 point to the rows of matrix i.
    unsafe {
        let lane = |lane: usize| &*(*payloads.add(lane)).cast::<LdMatrix>();
        let count = lane(0).count as usize;
        let transposed = lane(0).transposed != 0;
        for index in 0..count {
            let mut matrix = [[0u16; 8]; 8];
            for (row, values) in matrix.iter_mut().enumerate() {
                let from = lane(index * 8 + row);
                if let Err(fault) = readable(from) {
                    (*(*current()).block).fault.get_or_insert(fault);
                    return;
                }
                from.row.copy_to(values.as_mut_ptr(), 8);
            }
            for target in 0..WARP {
                let row = target / 4;
                let column = target % 4 * 2;
                let pair = match transposed {
                    true => [matrix[column][row], matrix[column + 1][row]],
                    false => [matrix[row][column], matrix[row][column + 1]],
                };
                *lane(target).out.add(index) = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_and_votes_reach_their_lanes() {
        let mask = 0xf0f0_f0f0u32;
        let inputs: Vec<u32> = (0..WARP as u32).map(|lane| lane * 3).collect();
        let mut outputs = [u32::MAX; WARP];
        let to = outputs.as_mut_ptr();
        let shuffle = |lane: usize| Shuffle {
            input: inputs[lane..].as_ptr().cast(),
            output: to.wrapping_add(lane).cast(),
            bytes: 4,
            source: lane as u32 ^ 1,
            site: Site { file: c"a.cu".as_ptr(), line: 1 },
        };
        let mut shuffles: Vec<Shuffle> = (0..WARP).map(shuffle).collect();
        let mut votes: Vec<Vote> = (0..WARP as u32).map(|lane| Vote { predicate: (lane % 3) & 1, out: 0 }).collect();
        // SAFETY: every lane of the mask hands in a payload of the kind, with pointers of its own.
        unsafe {
            let mut payloads: Vec<*mut c_void> = shuffles.iter_mut().map(|one| (&raw mut *one).cast()).collect();
            simt_exec_shuffle(payloads.as_mut_ptr(), mask);
            let mut payloads: Vec<*mut c_void> = votes.iter_mut().map(|one| (&raw mut *one).cast()).collect();
            simt_exec_vote(payloads.as_mut_ptr(), mask);
        }
        let ballot = lanes(mask).filter(|lane| (lane % 3) & 1 == 1).fold(0u32, |ballot, lane| ballot | 1 << lane);
        for lane in 0..WARP {
            let takes_part = mask >> lane & 1 == 1;
            assert_eq!(outputs[lane], if takes_part { (lane as u32 ^ 1) * 3 } else { u32::MAX }, "lane {lane}");
            assert_eq!(votes[lane].out, if takes_part { ballot } else { 0 }, "lane {lane}");
        }
    }
}
