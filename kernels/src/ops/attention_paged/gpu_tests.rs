//! The kernels against the CPU.
use super::AttentionPaged;
use crate::DECODE_ROWS_MAX;
use crate::ops::attention_full::gpu_tests::{assert_near, slack};
use crate::testing::numbers;
use crate::testing_gpu::*;
use crate::{Emulation, Gpu, PAGE_TOKENS};
use std::ops::Range;

/// A cache whose pages lie in a mixed order, and queries at its end.
struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    positions: Vec<u32>,
    /// Physical pages.
    pages: usize,
    table: Vec<u32>,
    scale: f32,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Case {
    /// All that no query may see is NaN: pages of others and rows beyond the last position.
    fn new(seed: u32, [heads, kv_heads, head_dim]: [usize; 3], positions: Range<u32>, size: f32) -> Self {
        let tokens = positions.end as usize;
        // More pages than are used. 5 has no divisor in common with them: a permutation. One entry more than needed, as
        // where a sequence may grow.
        let pages = if tokens < 640 { 12 } else { 37 };
        let table = (0..=tokens.div_ceil(PAGE_TOKENS)).map(|page| ((page * 5 + 3) % pages) as u32).collect();
        let cache = vec![f32::NAN; pages * kv_heads * PAGE_TOKENS * head_dim];
        let q = rounded(&numbers(seed, positions.len() * heads * head_dim, size));
        let scale = 1.0 / (head_dim as f32).sqrt();
        let positions = positions.collect();
        let k = cache.clone();
        let v = cache;
        let mut case = Self { heads, kv_heads, head_dim, positions, pages, table, scale, q, k, v };
        let row = kv_heads * head_dim;
        let values = [1, 2].map(|part| rounded(&numbers(seed + part, tokens * row, size)));
        for (token, head) in (0..tokens).flat_map(|token| (0..kv_heads).map(move |head| (token, head))) {
            let to = case.at(token, head);
            let from = token * row + head * head_dim;
            case.k[to..][..head_dim].copy_from_slice(&values[0][from..][..head_dim]);
            case.v[to..][..head_dim].copy_from_slice(&values[1][from..][..head_dim]);
        }
        case
    }

    /// Where a token's key and value begin.
    fn at(&self, token: usize, kv_head: usize) -> usize {
        let page = self.table[token / PAGE_TOKENS] as usize * self.kv_heads + kv_head;
        (page * PAGE_TOKENS + token % PAGE_TOKENS) * self.head_dim
    }

    fn run(&self, rig: &Rig<'_>) -> Vec<f32> {
        self.run_with(rig, &[])
    }

    /// With `runs`, `table` has a row for each.
    fn run_with(&self, rig: &Rig<'_>, runs: &[usize]) -> Vec<f32> {
        let dims = [self.pages * self.kv_heads, PAGE_TOKENS, self.head_dim];
        let q = rig.acts(&[self.positions.len(), self.heads * self.head_dim], &self.q);
        let k = rig.acts(&dims, &self.k);
        let v = rig.acts(&dims, &self.v);
        let table = rig.ids(&self.table);
        let positions = rig.ids(&self.positions);
        let mut out = rig.poisoned(q.dims().as_slice());
        let block_table = match runs.len() {
            0 => table.view(),
            count => table.view().reshape(&[count, self.table.len() / count]),
        };
        let op = AttentionPaged {
            q: q.view(),
            k_pages: k.view(),
            v_pages: v.view(),
            block_table,
            runs,
            positions: positions.view(),
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: self.scale,
            out: out.view_mut(),
        };
        rig.device.attention_paged(op).expect("valid");
        rig.read(&out)
    }

    /// The first rows only.
    fn only(mut self, rows: Range<usize>) -> Self {
        let width = self.heads * self.head_dim;
        self.q = self.q[rows.start * width..rows.end * width].to_vec();
        self.positions = self.positions[rows].to_vec();
        self
    }

    fn slack(&self) -> Vec<f64> {
        let of_head = |row: usize, head: usize| {
            let q = &self.q[(row * self.heads + head) * self.head_dim..][..self.head_dim];
            let at = |token: usize| self.at(token, head / (self.heads / self.kv_heads));
            let seen = || 0..=self.positions[row] as usize;
            let keys: Vec<&[f32]> = seen().map(|token| &self.k[at(token)..][..self.head_dim]).collect();
            let values: Vec<&[f32]> = seen().map(|token| &self.v[at(token)..][..self.head_dim]).collect();
            slack(q, &keys, &values, self.scale)
        };
        let rows = 0..self.positions.len();
        rows.flat_map(|row| (0..self.heads).flat_map(move |head| of_head(row, head))).collect()
    }

    fn check(&self, what: &str) -> Vec<f32> {
        let (got, want) = on_gpu_and_cpu(|rig| self.run(rig));
        assert_near(what, &got, &want, &self.slack());
        got
    }
}

/// One token; edges of pages; every padded head_dim, with and without a tail, on 16-byte boundaries and not; shared key
/// heads, more of them than a block takes.
#[test]
fn decode_agrees_with_the_cpu() {
    for (seed, (heads, positions)) in (100..).step_by(3).zip([
        ([1, 1, 4], 0..1),
        ([2, 2, 96], 0..1),
        ([6, 2, 64], 62..63),
        ([4, 1, 20], 63..64),
        ([3, 3, 96], 64..65),
        ([6, 2, 24], 126..128),
        ([4, 1, 72], 127..129),
        ([2, 1, 128], 300..301),
        ([18, 1, 16], 65..67),
        ([2, 1, 125], 62..66),
        ([2, 1, 8], 120..136),
    ]) {
        let what = format!("{heads:?} at {positions:?}");
        Case::new(seed, heads, positions, 1.5).check(&what);
    }
}

/// As for decode; edges of blocks of queries too, and queries that begin within a page.
#[test]
fn prefill_agrees_with_the_cpu() {
    for (seed, (heads, positions)) in (200..).step_by(3).zip([
        ([1, 1, 4], 0..17),
        ([1, 1, 96], 0..63),
        ([2, 2, 64], 0..64),
        ([6, 2, 24], 0..65),
        ([4, 1, 20], 50..68),
        ([1, 1, 96], 100..165),
        ([2, 1, 40], 0..129),
        ([1, 1, 128], 63..81),
        ([1, 1, 72], 127..192),
        ([1, 1, 99], 30..50),
    ]) {
        let what = format!("{heads:?} at {positions:?}");
        Case::new(seed, heads, positions, 1.5).check(&what);
    }
}

/// More tokens than one block of a split or a prompt of the release has; decoding and the end of a prompt under every
/// schedule, a whole prompt under one.
#[test]
fn many_tokens() {
    for (seed, heads, positions) in [(400, [2, 1, 96], 2048..2049), (403, [1, 1, 96], 2030..2049)] {
        let what = format!("{heads:?} at {positions:?}");
        Case::new(seed, heads, positions, 1.5).check(&what);
    }
    let case = Case::new(406, [1, 1, 96], 0..2049, 1.5);
    let (got, want) = once_on_gpu_and_cpu(|rig| case.run(rig));
    assert_near("a prompt of 2049 tokens", &got, &want, &case.slack());
}

/// Uniform, flat and sharp softmax, a negative scale, and scores so large that a weight is 0 or 1.
#[test]
fn regimes() {
    for (seed, size, scale) in [(300, 1.0, 0.0), (310, 0.1, 1.0), (320, 6.0, 1.0), (330, 1.0, -0.5), (340, 1e18, 0.25)]
    {
        for positions in [70..72, 100..130] {
            let what = format!("{positions:?}, size {size}, scale {scale}");
            let mut case = Case::new(seed, [2, 1, 16], positions, size);
            case.scale = scale;
            case.check(&what);
        }
    }
}

/// One score above all others by more than f32's exponent range: that token's value, bit for bit, in whichever page.
#[test]
fn saturates() {
    for (winner, positions) in [(0, 150..152), (100, 150..152), (63, 130..150), (129, 130..150)] {
        let mut case = Case::new(400, [1, 1, 8], positions.clone(), 1.0);
        case.q.fill(500.0);
        for token in 0..positions.end as usize {
            let at = case.at(token, 0);
            case.k[at..at + 8].fill(if token == winner { 1.0 } else { -1.0 });
        }
        let (got, _) = on_gpu_and_cpu(|rig| case.run(rig));
        let value = &case.v[case.at(winner, 0)..][..8];
        assert!(got.chunks_exact(8).all(|out| out == value), "winner {winner}");
    }
}

/// A token's output is the same alone as among other rows, bit for bit: within decode, and within prefill.
#[test]
fn other_rows_do_not_matter() {
    let run = |case: Case| one_gpu(Emulation::default(), |gpu| case.run(&Rig { device: gpu }));
    let decode = || Case::new(500, [4, 2, 24], 60..60 + DECODE_ROWS_MAX as u32, 1.5);
    let all = run(decode());
    for row in [0, 3, 4, 15] {
        assert_eq!(run(decode().only(row..row + 1)), all[row * 96..(row + 1) * 96], "row {row}");
    }
    let prefill = || Case::new(510, [2, 1, 24], 40..200, 1.5);
    let all = run(prefill());
    for rows in [0..100, 100..160, 37..60] {
        let width = rows.start * 48..rows.end * 48;
        assert_eq!(run(prefill().only(rows.clone())), all[width], "rows {rows:?}");
    }
}

/// The queries of several sequences as one call, a run of each, over their caches one after the other.
fn together(cases: &[Case], rig: &Rig<'_>) -> Vec<f32> {
    let first = &cases[0];
    let width = cases.iter().map(|case| case.table.len()).max().expect("cases");
    let joined = |part: fn(&Case) -> &Vec<f32>| cases.iter().flat_map(|case| part(case).clone()).collect();
    let table_of = |(at, case): (usize, &Case)| {
        let mut table: Vec<u32> = case.table.iter().map(|page| page + (at * first.pages) as u32).collect();
        // No page of anybody's: what lies behind a sequence's end is never looked at.
        table.resize(width, u32::MAX);
        table
    };
    let all = Case {
        positions: cases.iter().flat_map(|case| case.positions.clone()).collect(),
        pages: cases.iter().map(|case| case.pages).sum(),
        table: cases.iter().enumerate().flat_map(table_of).collect(),
        q: joined(|case| &case.q),
        k: joined(|case| &case.k),
        v: joined(|case| &case.v),
        ..*first
    };
    let runs: Vec<usize> = cases.iter().map(|case| case.positions.len()).collect();
    all.run_with(rig, &runs)
}

/// Rows of different sequences, of different lengths and in no order: each gets the bits that it gets alone, on the CPU
/// too, and nothing of another's pages.
#[test]
fn sequences_are_apart() {
    for heads in [[4, 2, 24], [1, 1, 96], [2, 1, 7]] {
        let ends = [131, 1, 64, 65, 300, 63, 2, 128];
        let case = |at: usize| Case::new(700 + 3 * at as u32, heads, ends[at] - 1..ends[at], 1.5);
        let cases: Vec<Case> = (0..ends.len()).map(case).collect();
        let alone = once_on_gpu_and_cpu(|rig| cases.iter().flat_map(|case| case.run(rig)).collect());
        let (got, want) = on_gpu_and_cpu(|rig| together(&cases, rig));
        assert_eq!((&got, &want), (&alone.0, &alone.1), "{heads:?}");
        assert_near("together", &got, &want, &cases.iter().flat_map(Case::slack).collect::<Vec<f64>>());
    }
}

/// Prompts as one set of rows: each gets the bits that it gets alone, on the CPU too, however its rows fill blocks; one
/// with a page that the cache does not have loses the rows that see it, and no others.
#[test]
fn runs_are_apart() {
    for heads in [[2, 1, 24], [1, 1, 96], [2, 2, 7]] {
        let spans = [0..17u32, 100..165, 0..64, 40..171, 30..47];
        let case = |(at, span): (usize, &Range<u32>)| Case::new(800 + 3 * at as u32, heads, span.clone(), 1.5);
        let mut cases: Vec<Case> = spans.iter().enumerate().map(case).collect();
        let alone = once_on_gpu_and_cpu(|rig| cases.iter().flat_map(|case| case.run(rig)).collect());
        let (got, want) = on_gpu_and_cpu(|rig| together(&cases, rig));
        assert_eq!((&got, &want), (&alone.0, &alone.1), "{heads:?}");
        assert_near("together", &got, &want, &cases.iter().flat_map(Case::slack).collect::<Vec<f64>>());
        // From position 128 on, the rows of the second run see its third page.
        cases[1].table[2] = 10_000;
        let (lost, lost_on_cpu) = once_on_gpu_and_cpu(|rig| together(&cases, rig));
        let width = heads[0] * heads[2];
        let first = (17 + 28) * width;
        let last = (17 + 65) * width;
        for (name, lost, whole) in [("GPU", &lost, &got), ("CPU", &lost_on_cpu, &want)] {
            assert!(lost[first..last].iter().all(|value| value.is_nan()), "{heads:?}, {name}");
            assert_eq!((&lost[..first], &lost[last..]), (&whole[..first], &whole[last..]), "{heads:?}, {name}");
        }
    }
}

/// A prompt cut into two runs: each part gets the bits that it gets in a call of its own.
#[test]
fn parts_of_a_prompt_are_apart() {
    let case = || Case::new(820, [2, 1, 32], 0..120, 1.5);
    let width = 2 * 32;
    for cut in [17, 64, 100] {
        let parts = once_on_gpu_and_cpu(|rig| [case().only(0..cut).run(rig), case().only(cut..120).run(rig)].concat());
        let mut whole = case();
        whole.table = whole.table.repeat(2);
        let joined = once_on_gpu_and_cpu(|rig| whole.run_with(rig, &[cut, 120 - cut]));
        assert_eq!((joined.0.len(), &joined), (120 * width, &parts), "cut at {cut}");
    }
}

/// NaN in the cache of one key head stays in the query heads that read it.
#[test]
fn heads_are_apart() {
    for positions in [64..66, 64..90] {
        let mut case = Case::new(600, [4, 2, 16], positions.clone(), 1.0);
        for token in 0..positions.end as usize {
            let at = case.at(token, 1);
            case.k[at..at + 16].fill(f32::NAN);
            case.v[at..at + 16].fill(f32::NAN);
        }
        let (got, _) = on_gpu_and_cpu(|rig| case.run(rig));
        for (i, value) in got.iter().enumerate() {
            assert_eq!(value.is_nan(), i % 64 >= 32, "element {i} of {positions:?}");
        }
    }
}

#[test]
fn refuses_wide_heads() {
    let gpu = Gpu::emulated(Emulation::default());
    let rig = Rig { device: &gpu };
    let q = rig.acts(&[1, 136], &[0.0; 136]);
    let mut out = rig.poisoned(&[1, 136]);
    let pages = rig.poisoned(&[1, PAGE_TOKENS, 136]);
    let ids = rig.ids(&[0]);
    let op = AttentionPaged {
        q: q.view(),
        k_pages: pages.view(),
        v_pages: pages.view(),
        block_table: ids.view(),
        runs: &[],
        positions: ids.view(),
        heads: 1,
        kv_heads: 1,
        scale: 1.0,
        out: out.view_mut(),
    };
    crate::testing::assert_refused(
        rig.device.attention_paged(op),
        "attention_paged: head_dim is 136, at most 128 on a GPU",
    );
}
