//! What kernels move is counted: sectors, requests and turns that can be told by hand.
#![allow(unsafe_code)]

mod support;
use med2e3_simt::{Traffic, metered};
use support::{Buffer, Kernel, Params, grid, launch};

/// The counts of a launch with `size`, on one block, by the schedule `seed`.
fn count(kernel: Kernel, threads: u32, size: u32, seed: u64) -> Traffic {
    let mut a = Buffer::new(1 << 16);
    let mut b = Buffer::new(1024);
    let params = Params { a: a.address(), b: b.address(), fixed: 1, size };
    let (result, traffic) =
        metered(|| launch(kernel, grid(1, threads, size * threads), &params, seed, true).map_err(|f| f.to_string()));
    result.expect("a kernel without a defect");
    assert_eq!(traffic.keys().collect::<Vec<_>>(), [kernel.name]);
    traffic[kernel.name]
}

const SEEDS: std::ops::Range<u64> = 0..8;

/// 64 lanes read 4 bytes each: from as many sectors as the stride makes them.
#[test]
fn requests_are_counted_by_sectors() {
    for (size, sectors) in [(0, 1), (1, 8), (2, 16), (3, 24), (8, 64), (9, 64)] {
        let asked = if size == 0 { 2 * 4 } else { 64 * 4 };
        let moved = if size == 0 { 2 } else { sectors };
        for seed in SEEDS {
            let want = Traffic {
                launches: 1,
                read: sectors * 32,
                written: 256,
                asked: asked + 256,
                moved: moved * 32 + 256,
                ..Traffic::default()
            };
            assert_eq!(count(kernel!(meter_stride_kernel), 64, size, seed), want, "{size} apart, seed {seed}");
        }
    }
}

/// A vector is one access, whatever the compiler makes of it; what is read twice comes from memory once.
#[test]
fn vectors_are_one_access() {
    for seed in SEEDS {
        let want = Traffic { launches: 1, read: 1024, written: 1024, asked: 3072, moved: 3072, ..Traffic::default() };
        assert_eq!(count(kernel!(meter_wide_kernel), 64, 0, seed), want, "seed {seed}");
    }
}

/// The lanes' words lie in `32 / greatest common divisor` banks; two lanes that want one word do not conflict.
#[test]
fn banks_take_turns() {
    for (size, turns) in [(0, 1), (1, 1), (2, 2), (3, 1), (4, 4), (16, 16), (31, 1), (32, 32)] {
        for seed in SEEDS {
            let got = count(kernel!(meter_bank_kernel), 64, size, seed);
            // 32 requests of each warp fill the tile without conflicts; one reads it.
            assert_eq!([got.turns, got.turns_least], [2 * 32 + 2 * turns, 2 * 32 + 2], "{size} apart, seed {seed}");
        }
    }
}

/// Copies and `ldmatrix` go by eight rows of 16 bytes.
#[test]
fn rows_of_matrices_take_turns() {
    for (size, turns) in [(16, 1), (32, 2), (64, 4), (128, 8), (144, 1), (80, 1)] {
        for seed in SEEDS {
            let got = count(kernel!(meter_matrix_kernel), 32, size, seed);
            assert_eq!([got.turns, got.turns_least], [2 * 4 * turns, 8], "{size} apart, seed {seed}");
            assert_eq!([got.read, got.moved], [512, 512 + 128], "{size} apart, seed {seed}");
        }
    }
}

/// Nothing is counted outside.
#[test]
fn counting_ends() {
    let ((), traffic) = metered(|| ());
    assert!(traffic.is_empty());
    assert_eq!(count(kernel!(meter_wide_kernel), 64, 0, 1).launches, 1);
}
