//! Each class of defect is reported, word for word; the mended twin gives no report under any seed.
#![allow(unsafe_code)]

mod support;
use support::{Buffer, Kernel, Params, grid, launch, located};

/// A kernel, how it is launched, and what is said of its defect under seed 0.
struct Case {
    kernel: Kernel,
    blocks: u32,
    threads: u32,
    dynamic: u32,
    /// Bytes of `a`.
    a: usize,
    want: &'static str,
}

const SEEDS: std::ops::RangeInclusive<u64> = 0..=16;

fn run(case: &Case, fixed: bool, seed: u64, checked: bool) -> Result<Vec<u32>, String> {
    let mut a = Buffer::new(case.a);
    let mut b = Buffer::new(8192);
    let params = Params { a: a.address(), b: b.address(), fixed: u32::from(fixed), size: 0 };
    let grid = grid(case.blocks, case.threads, case.dynamic);
    launch(case.kernel, grid, &params, seed, checked).map(|()| b.words()).map_err(|fault| fault.to_string())
}

/// Defects that the checked build alone must find.
fn check(cases: &[Case]) {
    let reports: Vec<_> = cases.iter().map(|case| run(case, false, 0, true)).collect();
    let wanted: Vec<_> = cases.iter().map(|case| Err(located(case.want))).collect();
    assert_eq!(reports, wanted);
    for case in cases {
        let name = case.kernel.name;
        for seed in SEEDS {
            assert!(run(case, false, seed, true).is_err(), "{name}: not reported under seed {seed}");
        }
        let want = run(case, true, 0, false).unwrap_or_else(|fault| panic!("{name}, mended, plain: {fault}"));
        for seed in SEEDS {
            for checked in [false, true] {
                assert_eq!(run(case, true, seed, checked), Ok(want.clone()), "{name}, mended, {seed}, {checked}");
            }
        }
    }
}

#[test]
fn outside_buffers() {
    let case = |kernel, dynamic, a, want| Case { kernel, blocks: 1, threads: 32, dynamic, a, want };
    check(&[
        case(
            kernel!(overrun_kernel),
            0,
            124,
            "write of 4 bytes at @write_past is out of bounds: 0 bytes past the end \
            of a buffer of 124 bytes (offset 124), in overrun_kernel, block (0, 0, 0), thread (31, 0, 0)",
        ),
        case(
            kernel!(underrun_kernel),
            0,
            128,
            "read of 4 bytes at @read_before is out of bounds: 8 bytes before a \
            buffer of 128 bytes, in underrun_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(straddle_kernel),
            0,
            12,
            "read of 8 bytes at @straddle is out of bounds: 0 bytes past the end of \
            a buffer of 12 bytes (offset 8), in straddle_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(atomic_past_kernel),
            0,
            64,
            "atomic of 4 bytes at @atomic_past is out of bounds: 3936 bytes past \
            the end of a buffer of 64 bytes (offset 4000), in atomic_past_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(misaligned_kernel),
            0,
            64,
            "read of 8 bytes at @misaligned wants a multiple of 8: byte 4 \
            of a buffer of 64 bytes, in misaligned_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
    ]);
}

#[test]
fn outside_shared_memory() {
    let case = |kernel, dynamic, a, want| Case { kernel, blocks: 1, threads: 32, dynamic, a, want };
    check(&[
        case(
            kernel!(shared_overrun_kernel),
            0,
            64,
            "read of 4 bytes at @shared_past is out of bounds: 0 bytes past \
            the end of the shared array of 128 bytes of @first, in shared_overrun_kernel, block (0, 0, 0), \
            thread (31, 0, 0)",
        ),
        case(
            kernel!(dynamic_overrun_kernel),
            64,
            64,
            "write of 4 bytes at @dynamic_past is out of bounds: 0 bytes \
            past the end of 64 bytes of dynamic shared memory, in dynamic_overrun_kernel, block (0, 0, 0), \
            thread (16, 0, 0)",
        ),
        case(
            kernel!(copy_past_kernel),
            0,
            2000,
            "cp.async read of 16 bytes at @copy_past is out of bounds: 0 bytes \
            past the end of a buffer of 2000 bytes (offset 2000), in copy_past_kernel, block (0, 0, 0), \
            thread (31, 0, 0)",
        ),
        case(
            kernel!(matrix_past_kernel),
            0,
            64,
            "ldmatrix of 16 bytes at @matrix_past is out of bounds: 0 bytes past \
            the end of the shared array of 496 bytes of @rows, in matrix_past_kernel, block (0, 0, 0), \
            thread (31, 0, 0)",
        ),
    ]);
}

#[test]
fn freed_and_null() {
    let kernel = kernel!(gone_kernel);
    let mut a = Buffer::new(256);
    let mut b = Buffer::new(256);
    let mut params = Params { a: a.address(), b: b.address(), fixed: 0, size: 0 };
    launch(kernel, grid(1, 32, 0), &params, 0, true).expect("not freed yet");
    a.free();
    let fault = launch(kernel, grid(1, 32, 0), &params, 0, true).expect_err("freed").to_string();
    let want = "read of 4 bytes at @gone is out of bounds: byte 0 of a buffer of 256 bytes that was freed, \
        in gone_kernel, block (0, 0, 0), thread (0, 0, 0)";
    assert_eq!(fault, located(want));
    params.a = std::ptr::null_mut();
    let fault = launch(kernel, grid(1, 32, 0), &params, 0, true).expect_err("null").to_string();
    let want = "read of 4 bytes at @gone is out of bounds: 0x0, near no buffer, \
        in gone_kernel, block (0, 0, 0), thread (0, 0, 0)";
    assert_eq!(fault, located(want));
}

#[test]
fn races_in_shared_memory() {
    let case = |kernel, threads, want| Case { kernel, blocks: 1, threads, dynamic: 0, a: 1024, want };
    check(&[
        case(
            kernel!(read_after_write_kernel),
            64,
            "write of 4 bytes at @raw_write races with the read at @raw_read by thread (32, 0, 0): byte 0 of \
            the shared array of 256 bytes of @raw_array, in read_after_write_kernel, block (0, 0, 0), thread \
            (0, 0, 0)",
        ),
        case(
            kernel!(write_after_read_kernel),
            64,
            "read of 4 bytes at @war_read races with the write at @war_write by thread (32, 0, 0): byte 128 of \
            the shared array of 256 bytes of @war_array, in write_after_read_kernel, block (0, 0, 0), thread \
            (0, 0, 0)",
        ),
        case(
            kernel!(write_write_kernel),
            64,
            "write of 4 bytes at @ww races with the write at @ww by thread (0, 0, 0): byte 0 of the shared \
            array of 4 bytes of @ww_array, in write_write_kernel, block (0, 0, 0), thread (1, 0, 0)",
        ),
        case(
            kernel!(warp_kernel),
            64,
            "write of 4 bytes at @warp_write races with the read at @warp_read by thread (32, 0, 0): byte 132 \
            of the shared array of 256 bytes of @warp_array, in warp_kernel, block (0, 0, 0), thread (33, 0, \
            0)",
        ),
        case(
            kernel!(warp_only_kernel),
            64,
            "write of 4 bytes at @warp_only_write races with the read at @warp_only by thread (63, 0, 0): byte \
            0 of the shared array of 256 bytes of @warp_only_array, in warp_only_kernel, block (0, 0, 0), \
            thread (0, 0, 0)",
        ),
        case(
            kernel!(half_warp_kernel),
            64,
            "read of 4 bytes at @half races with the write at @half_write by thread (63, 0, 0): byte 252 of the \
            shared array of 256 bytes of @half_array, in half_warp_kernel, block (0, 0, 0), thread (47, 0, 0)",
        ),
    ]);
}

#[test]
fn races_despite_partial_order() {
    let case = |kernel, threads, want| Case { kernel, blocks: 1, threads, dynamic: 0, a: 1024, want };
    check(&[
        case(
            kernel!(atomic_kernel),
            64,
            "write of 4 bytes at @plain races with the atomic at @atomic by thread (39, 0, 0): byte 0 of a \
            buffer of 1024 bytes, in atomic_kernel, block (0, 0, 0), thread (40, 0, 0)",
        ),
        case(
            kernel!(atomic_then_read_kernel),
            64,
            "atomic of 4 bytes at @count_atomic races with the read at @count by thread (63, 0, 0): byte 0 of \
            the shared array of 4 bytes of @count_array, in atomic_then_read_kernel, block (0, 0, 0), thread \
            (32, 0, 0)",
        ),
        case(
            kernel!(named_kernel),
            96,
            "read of 4 bytes at @named races with the write at @named_write by thread (0, 0, 0): byte 0 of the \
            shared array of 384 bytes of @named_array, in named_kernel, block (0, 0, 0), thread (64, 0, 0)",
        ),
        case(
            kernel!(chain_kernel),
            96,
            "read of 4 bytes at @chain races with the write at @chain_write by thread (0, 0, 0): byte 0 of the \
            shared array of 128 bytes of @chain_array, in chain_kernel, block (0, 0, 0), thread (64, 0, 0)",
        ),
        case(
            kernel!(hand_on_kernel),
            64,
            "read of 4 bytes at @hand_read races with the write at @hand_write by thread (0, 0, 0): byte 0 of the \
            shared array of 4 bytes of @hand_array, in hand_on_kernel, block (0, 0, 0), thread (40, 0, 0)",
        ),
        case(
            kernel!(unset_kernel),
            64,
            "read of 4 bytes at @unset finds what nobody wrote: byte 252 of the shared array of 256 bytes of \
            @unset_array, in unset_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(halves_kernel),
            64,
            "read of 4 bytes at @halves races with the write at @halves_write by thread (62, 0, 0): byte 124 of \
            the shared array of 128 bytes of @halves_array, in halves_kernel, block (0, 0, 0), thread (0, 0, \
            0)",
        ),
    ]);
}

#[test]
fn races_in_global_memory() {
    let case = |kernel, blocks, want| Case { kernel, blocks, threads: 64, dynamic: 0, a: 1024, want };
    check(&[
        case(
            kernel!(global_kernel),
            2,
            "write of 4 bytes at @global_write races with the read at @global_read by thread (0, 0, 0): byte \
            128 of a buffer of 1024 bytes, in global_kernel, block (0, 0, 0), thread (32, 0, 0)",
        ),
        case(
            kernel!(blocks_read_kernel),
            2,
            "read of 4 bytes at @blocks_read races with the write at @blocks_write by thread (0, 0, 0) of block \
            (0, 0, 0): byte 0 of a buffer of 1024 bytes, in blocks_read_kernel, block (1, 0, 0), thread (0, 0, \
            0)",
        ),
        case(
            kernel!(blocks_write_kernel),
            2,
            "write of 4 bytes at @blocks_ww races with the write at @blocks_ww by thread (0, 0, 0) of block (0, \
            0, 0): byte 0 of a buffer of 1024 bytes, in blocks_write_kernel, block (1, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(blocks_read_write_kernel),
            3,
            "write of 4 bytes at @blocks_rw races with the read at @blocks_wr by thread (63, 0, 0) of block (1, \
            0, 0): byte 0 of a buffer of 1024 bytes, in blocks_read_write_kernel, block (2, 0, 0), thread (0, \
            0, 0)",
        ),
    ]);
}

#[test]
fn copies() {
    let case = |kernel, want| Case { kernel, blocks: 1, threads: 64, dynamic: 0, a: 4096, want };
    check(&[
        case(
            kernel!(copy_read_kernel),
            "read of 4 bytes at @early_read meets a cp.async in flight, issued at @issue by thread (0, 0, 0): \
            byte 0 of the shared array of 1024 bytes of @tile, in copy_read_kernel, block (0, 0, 0), thread \
            (0, 0, 0)",
        ),
        case(
            kernel!(copy_write_kernel),
            "write of 4 bytes at @early_write meets a cp.async in flight, issued at @write_issue by thread (0, \
            0, 0): byte 0 of the shared array of 1024 bytes of @write_tile, in copy_write_kernel, block (0, 0, \
            0), thread (0, 0, 0)",
        ),
        case(
            kernel!(copy_barrier_kernel),
            "read of 4 bytes at @no_barrier finds what nobody wrote: byte 1020 of the shared array of 1024 \
            bytes of @barrier_tile, in copy_barrier_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(copy_over_kernel),
            "read of 4 bytes at @still_read races with the write at @over by thread (63, 0, 0): byte 1020 of \
            the shared array of 1024 bytes of @over_tile, in copy_over_kernel, block (0, 0, 0), thread (0, 0, \
            0)",
        ),
        case(
            kernel!(copy_source_kernel),
            "write of 4 bytes at @source_write races with the read at @source by thread (32, 0, 0): byte 512 of \
            a buffer of 4096 bytes, in copy_source_kernel, block (0, 0, 0), thread (0, 0, 0)",
        ),
        case(
            kernel!(copy_groups_kernel),
            "read of 4 bytes at @group_read meets a cp.async in flight, issued at @group by thread (0, 0, 0): \
            byte 0 of the shared array of 3072 bytes of @group_tile, in copy_groups_kernel, block (0, 0, 0), \
            thread (0, 0, 0)",
        ),
    ]);
}

#[test]
fn threads_that_never_meet() {
    let case = |kernel, want| Case { kernel, blocks: 1, threads: 64, dynamic: 0, a: 4096, want };
    check(&[
        case(
            kernel!(divergent_kernel),
            "deadlock: 63 of 64 threads wait at @divergent; 1 of 2 threads wait at @alone, in divergent_kernel, \
            block (0, 0, 0)",
        ),
        case(
            kernel!(two_sites_kernel),
            "threads of one block wait at different barriers: @site_one and @site_two, in two_sites_kernel, \
            block (0, 0, 0), thread (32, 0, 0)",
        ),
        case(
            kernel!(missing_lane_kernel),
            "deadlock: warp 0 lacks lanes 0x00000080 at @missing, in missing_lane_kernel, block (0, 0, 0)",
        ),
        case(
            kernel!(two_instructions_kernel),
            "lanes of one warp are at different warp instructions: @ballot and @any, in \
            two_instructions_kernel, block (0, 0, 0), thread (16, 0, 0)",
        ),
        case(
            kernel!(own_mask_kernel),
            "lane 16 is not in its own mask 0x0000ffff at @own_mask, in own_mask_kernel, block (0, 0, 0), \
            thread (16, 0, 0)",
        ),
        case(
            kernel!(absent_source_kernel),
            "lane 0 shuffles from lane 20, which takes no part, at @absent, in absent_source_kernel, block (0, \
            0, 0), thread (0, 0, 0)",
        ),
        case(kernel!(trap_kernel), "a kernel's own check at @trap, in trap_kernel, block (0, 0, 0), thread (33, 0, 0)"),
        case(
            kernel!(early_exit_kernel),
            "threads of one block wait at different barriers: @even and @odd, in early_exit_kernel, block (0, \
            0, 0), thread (1, 0, 0)",
        ),
    ]);
}

#[test]
fn undefined_behaviour() {
    let case = |kernel, want| Case { kernel, blocks: 1, threads: 32, dynamic: 0, a: 64, want };
    check(&[
        case(
            kernel!(shift_kernel),
            "undefined in C++ at @shift: a shift by too many bits, or of a negative number, in shift_kernel, \
            block (0, 0, 0), thread (31, 0, 0)",
        ),
        case(
            kernel!(overflow_kernel),
            "undefined in C++ at @overflow: a signed sum that overflows, in overflow_kernel, block (0, 0, 0), \
            thread (31, 0, 0)",
        ),
        case(
            kernel!(divide_kernel),
            "undefined in C++ at @divide: a division by zero, or one that overflows, in divide_kernel, block \
            (0, 0, 0), thread (8, 0, 0)",
        ),
        case(
            kernel!(own_array_kernel),
            "undefined in C++ at @own_array: an index outside its array, in own_array_kernel, block (0, 0, 0), \
            thread (8, 0, 0)",
        ),
        case(
            kernel!(cast_kernel),
            "undefined in C++ at @cast: a float that its integer type cannot hold, in cast_kernel, block (0, 0, \
            0), thread (0, 0, 0)",
        ),
    ]);
}
