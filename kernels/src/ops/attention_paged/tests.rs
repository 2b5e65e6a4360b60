//! Tests of `attention_paged`.
use super::{AttentionPaged, cpu, reference};
use crate::cpu::fast::{self, Way};
use crate::cpu::lanes::Isa;
use crate::ops::attention_full::tests::bound;
use crate::testing::*;
use crate::{DType, Device, PAGE_TOKENS, Tensor};
use half::bf16;

/// A cache whose pages lie in a mixed order, and new queries at its end.
struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    positions: Vec<u32>,
    table: Vec<u32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Physical pages, more than any sequence here uses.
const PAGES: usize = 12;

impl Case {
    /// All that no query may see is NaN: unused pages and rows beyond the last position.
    fn new(seed: u32, [heads, kv_heads, head_dim]: [usize; 3], positions: std::ops::Range<u32>) -> Self {
        let positions: Vec<u32> = positions.collect();
        let last = *positions.last().expect("queries") as usize;
        // 5 has no divisor in common with 12: a permutation.
        let table: Vec<u32> = (0..=last / PAGE_TOKENS).map(|page| ((page * 5 + 3) % PAGES) as u32).collect();
        let row = kv_heads * PAGE_TOKENS * head_dim;
        let mut k = vec![f32::NAN; PAGES * row];
        let mut v = vec![f32::NAN; PAGES * row];
        for (cache, seed) in [(&mut k, seed + 1), (&mut v, seed + 2)] {
            let values = numbers(seed, (last + 1) * kv_heads * head_dim, 1.5);
            for (i, values) in values.chunks_exact(head_dim).enumerate() {
                let token = i / kv_heads;
                let head = i % kv_heads;
                let page = table[token / PAGE_TOKENS] as usize * kv_heads + head;
                cache[(page * PAGE_TOKENS + token % PAGE_TOKENS) * head_dim..][..head_dim].copy_from_slice(values);
            }
        }
        let q = numbers(seed, positions.len() * heads * head_dim, 1.5);
        Self { heads, kv_heads, head_dim, positions, table, q, k, v }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn run(&self, isa: Isa, way: Option<Way>) -> Vec<f32> {
        let dims = [PAGES * self.kv_heads, PAGE_TOKENS, self.head_dim];
        let q = tensor(&[self.positions.len(), self.heads * self.head_dim], &self.q);
        let k = tensor(&dims, &self.k);
        let v = tensor(&dims, &self.v);
        let table = tensor_u32(&self.table);
        let positions = tensor_u32(&self.positions);
        let mut out = poisoned(q.dims().as_slice());
        let op = AttentionPaged {
            q: q.view(),
            k_pages: k.view(),
            v_pages: v.view(),
            block_table: table.view(),
            runs: &[],
            positions: positions.view(),
            heads: self.heads,
            kv_heads: self.kv_heads,
            scale: self.scale(),
            out: out.view_mut(),
        };
        cpu::run_on(op, isa, way).expect("valid");
        values(&out)
    }

    /// f64's result and the bound for each element.
    fn want(&self) -> (Vec<f64>, Vec<f64>) {
        let mut want = Vec::new();
        let mut bounds = Vec::new();
        let most = 1.5;
        for (row, &position) in self.positions.iter().enumerate() {
            for head in 0..self.heads {
                let kv_head = head / (self.heads / self.kv_heads);
                let at = |token: usize| {
                    let page = self.table[token / PAGE_TOKENS] as usize * self.kv_heads + kv_head;
                    (page * PAGE_TOKENS + token % PAGE_TOKENS) * self.head_dim
                };
                let seen = 0..=position as usize;
                let keys = || seen.clone().map(|token| &self.k[at(token)..][..self.head_dim]);
                let values = seen.clone().map(|token| &self.v[at(token)..][..self.head_dim]);
                let q = &self.q[(row * self.heads + head) * self.head_dim..][..self.head_dim];
                want.extend(reference::attend(q, keys(), values, f64::from(self.scale())));
                bounds.extend(std::iter::repeat_n(bound(q, keys(), self.scale(), most), self.head_dim));
            }
        }
        (want, bounds)
    }
}

#[test]
fn worked_by_hand() {
    // Token 0 in page 1, key 0; the second query also sees token 1 with score ln 3: weights 1/4 and 3/4.
    let mut case = Case::new(1, [1, 1, 1], 0..2);
    (case.q, case.table) = (vec![7.0, 1.0], vec![1]);
    case.k[64..66].copy_from_slice(&[0.0, 3f32.ln()]);
    case.v[64..66].copy_from_slice(&[4.0, 8.0]);
    assert_close("out", &case.run(Isa::best(), None), &[4.0, 7.0], 1e-6);
}

/// One token, decode and prefill, edges of pages (64), tiles (256) and strips (48), shared key heads, model heads.
#[test]
fn agrees_with_f64() {
    for (seed, (heads, positions)) in (100..).step_by(3).zip([
        ([1, 1, 4], 0..1),
        ([2, 1, 8], 0..3),
        ([4, 2, 12], 60..70),
        ([3, 3, 96], 63..64),
        ([2, 2, 96], 64..65),
        ([6, 2, 64], 255..257),
        ([1, 1, 96], 0..300),
        ([2, 1, 7], 250..360),
        ([1, 1, 128], 700..701),
        ([2, 2, 20], 0..49),
        ([2, 1, 7], 90..92),
        ([1, 1, 20], 300..301),
    ]) {
        let case = Case::new(seed, heads, positions.clone());
        let (want, bounds) = case.want();
        for isa in Isa::all() {
            let got = case.run(isa, None);
            assert_within(&format!("{heads:?} {positions:?} {isa:?}"), &got, &want, |i| bounds[i]);
            assert_eq!(got, case.run(isa, None), "{heads:?} {positions:?} {isa:?}: repeats");
        }
    }
}

/// What Miri can run: decode and prefill across a page's edge, with rows that see no tokens.
#[test]
fn small_sizes() {
    for (seed, positions) in [(400, 64..65), (403, 62..65)] {
        let case = Case::new(seed, [1, 1, 2], positions.clone());
        let (want, bounds) = case.want();
        for isa in Isa::all() {
            assert_within(&format!("{positions:?} {isa:?}"), &case.run(isa, None), &want, |i| bounds[i]);
        }
        let mut lost = Case::new(seed, [1, 1, 2], positions);
        lost.table[1] = PAGES as u32;
        let got = lost.run(Isa::Plain, None);
        let seen = lost.positions.iter().map(|&position| position < 64);
        assert!(got.chunks_exact(2).zip(seen).all(|(row, seen)| row.iter().all(|v| v.is_nan() != seen)), "{got:?}");
    }
}

/// As `attention_full`'s test: 2^-8 of the largest value for weights rounded to bf16. Causal edges of blocks and tiles,
/// shared key heads, a prompt's second chunk; rows beyond the last position stay unread.
#[test]
fn agrees_with_f64_in_bf16() {
    for (seed, (heads, positions)) in (300..).step_by(3).zip([
        ([1, 1, 64], 0..32),
        ([2, 1, 64], 0..301),
        ([4, 2, 64], 245..290),
        ([1, 1, 64], 500..590),
    ]) {
        let mut case = Case::new(seed, heads, positions.clone());
        assert!(fast::attend::suits(positions.len(), heads[2]));
        for values in [&mut case.q, &mut case.k, &mut case.v] {
            values.iter_mut().for_each(|v| *v = bf16::from_f32(*v).to_f32());
        }
        let (want, bounds) = case.want();
        for (way, isa) in fast::ways().into_iter().flat_map(|way| Isa::all().into_iter().map(move |isa| (way, isa))) {
            let got = case.run(isa, way);
            let what = format!("{heads:?} {positions:?} {isa:?} {way:?}");
            assert_within(&what, &got, &want, |i| bounds[i] + 1.5 * 2f64.powi(-8));
            assert_eq!(got, case.run(isa, way), "{what}: repeats");
        }
    }
}

/// A token's output is the same alone as within a prefill, bit for bit.
#[test]
fn chunks_do_not_matter() {
    let whole = Case::new(200, [2, 1, 24], 0..310);
    let all = whole.run(Isa::best(), None);
    let mut part = Case::new(200, [2, 1, 24], 0..310);
    part.positions.drain(..273);
    part.q.drain(..273 * 48);
    assert_eq!(part.run(Isa::best(), None), all[273 * 48..]);
}

/// In bf16 too, where both have enough rows for it.
#[test]
fn chunks_do_not_matter_in_bf16() {
    let whole = Case::new(203, [2, 1, 32], 0..310);
    let mut part = Case::new(203, [2, 1, 32], 0..310);
    part.positions.drain(..233);
    part.q.drain(..233 * 64);
    for way in fast::ways() {
        assert_eq!(part.run(Isa::best(), way), whole.run(Isa::best(), way)[233 * 64..], "{way:?}");
    }
}

/// Sharp scores: the winner's value, though it lies in another tile than the query.
#[test]
fn saturates() {
    let mut case = Case::new(210, [1, 1, 1], 500..503);
    case.q.fill(900.0);
    for token in 0..503 {
        let at = case.table[token / PAGE_TOKENS] as usize * PAGE_TOKENS + token % PAGE_TOKENS;
        case.k[at] = if token == 100 { 1.0 } else { -1.0 };
    }
    let winner = case.v[case.table[1] as usize * PAGE_TOKENS + 36];
    assert!(case.run(Isa::best(), None).iter().all(|&got| got == winner));
}

fn op_error(q: &Tensor, k: &Tensor, v: &Tensor, heads: [usize; 2], ids: [&Tensor; 2], out: &[usize], text: &str) {
    let mut out = poisoned(out);
    let op = AttentionPaged {
        q: q.view(),
        k_pages: k.view(),
        v_pages: v.view(),
        block_table: ids[0].view(),
        runs: &[],
        positions: ids[1].view(),
        heads: heads[0],
        kv_heads: heads[1],
        scale: 1.0,
        out: out.view_mut(),
    };
    assert_refused(CPU.attention_paged(op), text);
}

#[test]
fn contract_errors() {
    let q = poisoned(&[2, 12]);
    let pages = poisoned(&[6, 64, 4]);
    let table = tensor_u32(&[0, 1]);
    let positions = tensor_u32(&[3, 4]);
    let ids = [&table, &positions];
    let short = poisoned(&[6, 32, 4]);
    op_error(
        &q,
        &short,
        &pages,
        [3, 1],
        ids,
        &[2, 12],
        "attention_paged: k_pages.page tokens is 32, but page.page tokens is 64",
    );
    let other = poisoned(&[5, 64, 4]);
    op_error(
        &q,
        &pages,
        &other,
        [3, 1],
        ids,
        &[2, 12],
        "attention_paged: v_pages.pages·kv_heads is 5, but k_pages.pages·kv_heads is 6",
    );
    op_error(&q, &pages, &pages, [2, 1], ids, &[2, 12], "attention_paged: q.heads·head_dim is 12, wanted 8");
    op_error(&q, &pages, &pages, [3, 1], ids, &[1, 12], "attention_paged: out.rows is 1, but q.rows is 2");
    op_error(&q, &pages, &pages, [3, 2], ids, &[2, 12], "attention_paged: 3 heads do not share 2 key heads evenly");
    op_error(&q, &pages, &pages, [3, 0], ids, &[2, 12], "attention_paged: 3 heads do not share 0 key heads evenly");
    op_error(
        &poisoned(&[2, 16]),
        &pages,
        &pages,
        [4, 4],
        ids,
        &[2, 16],
        "attention_paged: 6 page heads do not divide by 4 key heads",
    );
    op_error(
        &q,
        &pages,
        &pages,
        [3, 1],
        [&table, &tensor_u32(&[1])],
        &[2, 12],
        "attention_paged: positions.rows is 1, but q.rows is 2",
    );
    op_error(
        &q,
        &pages,
        &pages,
        [3, 1],
        [&poisoned(&[2]), &positions],
        &[2, 12],
        "attention_paged: block_table holds F32, wanted U32",
    );
}

#[test]
fn runs_must_add_up() {
    let pages = poisoned(&[6, 64, 4]);
    let tables = (&CPU as &dyn Device).tensor(&[2, 2], DType::U32).expect("memory");
    let run = |rows: usize, runs: &[usize]| {
        let q = poisoned(&[rows, 12]);
        let mut out = poisoned(&[rows, 12]);
        let positions = tensor_u32(&vec![0; rows]);
        CPU.attention_paged(AttentionPaged {
            q: q.view(),
            k_pages: pages.view(),
            v_pages: pages.view(),
            block_table: tables.view(),
            runs,
            positions: positions.view(),
            heads: 3,
            kv_heads: 1,
            scale: 1.0,
            out: out.view_mut(),
        })
    };
    assert!(run(2, &[1, 1]).is_ok() && run(40, &[17, 23]).is_ok());
    assert_refused(run(2, &[2]), "attention_paged: block_table.runs is 2, but runs.runs is 1");
    assert_refused(run(40, &[17, 17]), "attention_paged: 2 runs have 34 rows, but there are 40");
    assert_refused(run(9, &[4, 5]), "attention_paged: runs of a call of 9 rows have one row each, or are one");
    assert!(run(40, &[usize::MAX, 41]).is_err());
}

/// Rows that would see a page outside the cache, or whose position the table does not cover, are NaN; the others keep
/// their bits, in whatever order, in every way to attend.
#[test]
fn rows_without_their_tokens_are_nan() {
    let sound = || Case::new(220, [1, 1, 32], 40..100);
    for way in [vec![None], fast::ways()].concat() {
        let want = sound().run(Isa::best(), way);
        let mut case = sound();
        case.table[1] = PAGES as u32;
        let got = case.run(Isa::best(), way);
        assert_eq!(got[..24 * 32], want[..24 * 32], "{way:?}: those who see the first page only");
        assert!(got[24 * 32..].iter().all(|v| v.is_nan()), "{way:?}: those who see the second");
        let mut case = sound();
        (case.positions[0], case.positions[30]) = (128, u32::MAX);
        case.positions.swap(5, 6);
        let got = case.run(Isa::best(), way);
        for (row, (got, want)) in got.chunks_exact(32).zip(want.chunks_exact(32)).enumerate() {
            match row {
                0 | 30 => assert!(got.iter().all(|v| v.is_nan()), "{way:?}: row {row}"),
                // Their queries are those of each other's positions.
                5 | 6 => assert!(got.iter().all(|v| v.is_finite()), "{way:?}: row {row}"),
                _ => assert_eq!(got, want, "{way:?}: row {row}"),
            }
        }
    }
}
