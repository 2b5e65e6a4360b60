//! Every primitive against plain Rust, plain and checked, under many schedules.
#![allow(unsafe_code)]

mod support;
use half::{bf16, f16};
use med2e3_simt::Grid;
use support::{Buffer, Kernel, Params, grid, launch};

const SEEDS: std::ops::RangeInclusive<u64> = 0..=16;

/// Runs a kernel over `input` under every seed, plain and checked; all agree, and give `words` words.
fn run_on(kernel: Kernel, grid: Grid, input: &[u32], size: u32, words: usize) -> Vec<u32> {
    let mut results = SEEDS.flat_map(|seed| [(seed, false), (seed, true)]).map(|(seed, checked)| {
        let mut a = Buffer::holding(input);
        let mut b = Buffer::new(words * 4);
        let params = Params { a: a.address(), b: b.address(), fixed: 1, size };
        launch(kernel, grid, &params, seed, checked).unwrap_or_else(|fault| panic!("{}: {fault}", kernel.name));
        b.words()
    });
    let first = results.next().expect("a seed");
    results.for_each(|result| assert_eq!(result, first, "{}", kernel.name));
    first
}

/// Words that are all different.
fn numbered(count: u32) -> Vec<u32> {
    (0..count).map(|i| i.wrapping_mul(0x9E37_79B9) ^ 0x5bd1_e995).collect()
}

/// A lane outside its part of the warp gives a thread its own value back.
#[test]
fn shuffles() {
    let input = numbered(64);
    let got = run_on(kernel!(shuffle_kernel), grid(1, 64, 0), &input, 0, 512);
    for (thread, got) in got.chunks_exact(8).enumerate() {
        let warp = thread / 32 * 32;
        let lane = thread % 32;
        let sources = [32, 8].map(|width| {
            let first = lane / width * width;
            let within = lane % width;
            let crossed = lane ^ 12;
            [
                first + 9 % width,
                if crossed / width == lane / width { crossed } else { lane },
                if within >= 3 { lane - 3 } else { lane },
                if within + 5 < width { lane + 5 } else { lane },
            ]
        });
        let want: Vec<u32> = sources.as_flattened().iter().map(|&lane| input[warp + lane]).collect();
        assert_eq!(got, want, "thread {thread}");
    }
}

#[test]
fn shuffles_of_half_a_warp() {
    let got = run_on(kernel!(half_shuffle_kernel), grid(1, 64, 0), &[0], 0, 128);
    for (thread, pair) in got.chunks_exact(2).enumerate() {
        let from = if thread % 32 < 16 { thread ^ 1 } else { thread ^ 2 };
        let got = f64::from_bits(u64::from(pair[0]) | u64::from(pair[1]) << 32);
        assert_eq!(got, from as f64 + 0.5, "thread {thread}");
    }
}

#[test]
fn votes() {
    // Warp 0: lanes that divide by three; warp 1: all.
    let holds = |thread: usize| thread >= 32 || thread.is_multiple_of(3);
    let input: Vec<u32> = (0..64).map(|thread| f32::from(u8::from(holds(thread))).to_bits()).collect();
    let got = run_on(kernel!(vote_kernel), grid(1, 64, 0), &input, 0, 384);
    for (thread, got) in got.chunks_exact(6).enumerate() {
        let warp = thread / 32 * 32;
        let ballot = (0..32).fold(0u32, |ballot, lane| ballot | u32::from(holds(warp + lane)) << lane);
        let vote = |mask: u32| [ballot & mask, u32::from(ballot & mask != 0), u32::from(ballot & mask == mask)];
        let even = if thread.is_multiple_of(2) { vote(0x5555_5555) } else { [0; 3] };
        assert_eq!(got, [vote(!0), even].as_flattened(), "thread {thread}");
    }
}

#[test]
fn atomics() {
    let got = run_on(kernel!(atomics_kernel), grid(40, 64, 0), &[0], 0, 96);
    let threads = 40 * 64;
    assert_eq!(got[..5], [threads * (threads - 1) / 2, threads - 1, (1 - threads as i32) as u32, 77, 42]);
    let count = (0..64u64).sum::<u64>() << 30;
    for pair in got[16..].chunks_exact(2) {
        assert_eq!(u64::from(pair[0]) | u64::from(pair[1]) << 32, count);
    }
}

#[test]
fn indices_along_three_axes() {
    let grid = Grid { blocks: [3, 5, 2], threads: [4, 2, 8], shared_bytes: 0 };
    let got = run_on(kernel!(index_kernel), grid, &[0], 0, 30 * 64);
    assert!(got.iter().enumerate().all(|(i, &bits)| f32::from_bits(bits) == i as f32));
}

/// `mma.m16n8k16` of 16-bit elements and `m16n8k32` of 8-bit ones, on small whole numbers so that sums are exact. The
/// layout is the manual's: with g = lane / 4 and t = lane % 4, register r of A holds row g + 8·(r % 2) and, from column
/// (t + 4·(r / 2))·per on, `per` elements; register r of B rows from (t + 4·r)·per on of column g; value i of D row
/// g + 8·(i / 2), column 2·t + i % 2.
#[test]
fn products() {
    type Pack = fn(&[i32]) -> u32;
    let bf16s: Pack = |v| v.iter().rev().fold(0, |word, &v| word << 16 | u32::from(bf16::from_f32(v as f32).to_bits()));
    let f16s: Pack = |v| v.iter().rev().fold(0, |word, &v| word << 16 | u32::from(f16::from_f32(v as f32).to_bits()));
    let bytes: Pack = |v| v.iter().rev().fold(0, |word, &v| word << 8 | u32::from(v as u8));
    for (kind, per, pack) in [(0, 2, bf16s), (1, 2, f16s), (2, 4, bytes)] {
        let depth = per * 8;
        let small = |seed: u32, i: usize| (numbered(512)[i].wrapping_mul(seed) >> 9) as i32 % 17 - 8;
        let (a, b) = (|row: usize, k: usize| small(3, row * depth + k), |k: usize, n: usize| small(5, k * 8 + n));
        let old = |row: usize, n: usize| small(7, row * 8 + n);
        let bits = |value: i32| if kind == 2 { value as u32 } else { (value as f32).to_bits() };
        let places = |g: usize, t: usize| [0, 1, 2, 3].map(|i| (g + 8 * (i / 2), 2 * t + i % 2));
        let mut input = Vec::new();
        let mut want = Vec::new();
        for (g, t) in (0..32).map(|lane| (lane / 4, lane % 4)) {
            let row = |r: usize| (0..per).map(|i| a(g + 8 * (r % 2), (t + 4 * (r / 2)) * per + i)).collect::<Vec<_>>();
            let column = |r: usize| (0..per).map(|i| b((t + 4 * r) * per + i, g)).collect::<Vec<_>>();
            input.extend((0..4).map(|r| pack(&row(r))).chain((0..2).map(|r| pack(&column(r)))));
            input.extend(places(g, t).map(|(row, n)| bits(old(row, n))));
            let sum = |row: usize, n: usize| old(row, n) + (0..depth).map(|k| a(row, k) * b(k, n)).sum::<i32>();
            want.extend(places(g, t).map(|(row, n)| bits(sum(row, n))));
        }
        assert_eq!(run_on(kernel!(mma_kernel), grid(1, 32, 0), &input, kind, 128), want, "kind {kind}");
    }
}

/// Lane l gets row l / 4, columns 2·(l % 4) and the next of each matrix; transposed, those of its transpose.
#[test]
fn matrices() {
    let input = numbered(128);
    let element = |matrix: usize, row: usize, column: usize| {
        let at = matrix * 64 + row * 8 + column;
        input[at / 2] >> (at % 2 * 16) & 0xffff
    };
    let got = run_on(kernel!(matrix_kernel), grid(1, 32, 0), &input, 0, 256);
    for (lane, got) in got.chunks_exact(8).enumerate() {
        let row = lane / 4;
        let column = lane % 4 * 2;
        for matrix in 0..4 {
            assert_eq!(got[matrix], element(matrix, row, column) | element(matrix, row, column + 1) << 16);
            assert_eq!(got[4 + matrix], element(matrix, column, row) | element(matrix, column + 1, row) << 16);
        }
    }
}

/// What a copy does not bring is zero, and nothing is read for it; early and late seeds agree.
#[test]
fn short_copies_fill_with_zeros() {
    for size in [0usize, 1, 15, 16, 500, 1023, 1024] {
        let input = numbered(size.div_ceil(4).max(1) as u32);
        let got = run_on(kernel!(copy_zero_kernel), grid(1, 64, 0), &input, size as u32, 256);
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut want = bytes(&input);
        want.truncate(size);
        want.resize(1024, 0);
        assert_eq!(bytes(&got), want, "{size} bytes");
    }
}

#[test]
fn grids_are_refused() {
    let kernel = kernel!(index_kernel);
    let mut b = Buffer::new(4096);
    let params = Params { a: b.address(), b: b.address(), fixed: 1, size: 0 };
    for (blocks, threads, shared_bytes, want) in [
        ([1, 1, 1], [31, 1, 1], 0, "31 threads in a block, wanted a multiple of 32 up to 1024"),
        ([1, 1, 1], [32, 33, 1], 0, "1056 threads in a block, wanted a multiple of 32 up to 1024"),
        ([1, 1, 1], [0, 1, 1], 0, "0 threads in a block, wanted a multiple of 32 up to 1024"),
        ([1, 0, 1], [32, 1, 1], 0, "a grid of [1, 0, 1] blocks"),
        ([1, 1, 1], [32, 1, 1], 166_913, "166913 bytes of dynamic shared memory, at most 166912"),
    ] {
        for checked in [false, true] {
            let result = launch(kernel, Grid { blocks, threads, shared_bytes }, &params, 0, checked);
            assert_eq!(result.expect_err(want).to_string(), want);
        }
    }
}

/// Launches on several OS threads at once, some with a defect, do not disturb each other.
#[test]
fn launches_side_by_side() {
    std::thread::scope(|scope| {
        for fixed in [0, 1, 0, 1, 0, 1] {
            scope.spawn(move || {
                for seed in 0..50 {
                    let mut a = Buffer::new(1024);
                    let mut b = Buffer::new(1024);
                    let params = Params { a: a.address(), b: b.address(), fixed, size: 0 };
                    let result = launch(kernel!(read_after_write_kernel), grid(1, 64, 0), &params, seed, true);
                    assert_eq!(result.is_ok(), fixed == 1, "seed {seed}");
                }
            });
        }
    });
}
