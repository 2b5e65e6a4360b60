//! Warp instructions: lanes hand in payloads, the last to arrive computes for all.
use crate::block::{Pending, WARP};
use crate::fault::{Fault, Site, stop};
use crate::thread::{Thread, current};
use std::ffi::{c_char, c_void};

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
    let (this, site) = (current(), Site { file, line });
    // SAFETY: kernels call this from their fiber; thread and block are touched by this OS thread alone. Payloads of
    // waiting lanes live on their suspended stacks.
    unsafe {
        let bit = 1u32 << (*this).lane;
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
        let warp = &mut (&mut (*(*this).block).warps)[(*this).warp as usize];
        warp.pending.swap_remove(index);
        warp.ready |= mask & !bit;
        warp.epoch += 1;
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
                let what = format!("lane {lane} shuffles from lane {}, which takes no part", to.source);
                (*(*current()).block).fault.get_or_insert(Fault::new(what));
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

#[unsafe(no_mangle)]
unsafe extern "C" fn simt_exec_ldmatrix(payloads: *mut *mut c_void, _mask: u32) {
    // SAFETY: all 32 lanes handed in an `LdMatrix`; lanes 8i..8i+8 point to the rows of matrix i.
    unsafe {
        let lane = |lane: usize| &*(*payloads.add(lane)).cast::<LdMatrix>();
        let (count, transposed) = (lane(0).count as usize, lane(0).transposed != 0);
        for index in 0..count {
            let mut matrix = [[0u16; 8]; 8];
            for (row, values) in matrix.iter_mut().enumerate() {
                let from = lane(index * 8 + row);
                if !from.row.addr().is_multiple_of(16) {
                    let site = Site { file: from.file, line: from.line };
                    let what = format!("ldmatrix: a row that is not on a 16-byte boundary at {site}");
                    (*(*current()).block).fault.get_or_insert(Fault::new(what));
                    return;
                }
                from.row.copy_to(values.as_mut_ptr(), 8);
            }
            for target in 0..WARP {
                let (row, column) = (target / 4, target % 4 * 2);
                let pair = match transposed {
                    true => [matrix[column][row], matrix[column + 1][row]],
                    false => [matrix[row][column], matrix[row][column + 1]],
                };
                *lane(target).out.add(index) = u32::from(pair[0]) | u32::from(pair[1]) << 16;
            }
        }
    }
}
