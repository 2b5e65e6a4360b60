//! Every barrier of every kernel is needed: without it a small case is reported or gives another result.
//!
//! Barriers, warp barriers and waits for copies are left out one at a time, by the emulator, so that nothing is
//! compiled again. A new op adds a case; a barrier that no case comes by, or that no case misses, fails here.
use crate::ops::*;
use crate::primitives::reduced;
use crate::testing::numbers;
use crate::testing_gpu::Rig;
use crate::{Emulation, Gpu, PAGE_TOKENS, Result};
use std::path::Path;

/// A small run of an op on a GPU: its source folder, and what it computes.
struct Case {
    op: &'static str,
    run: Run,
}

/// Either an op, or a kernel of the tests' own.
enum Run {
    Op(fn(&Rig<'_>) -> Result<Vec<f32>>),
    Kernel(fn(&Gpu) -> Result<Vec<f32>>),
}

const CASES: &[Case] = &[
    Case { op: "rms_norm", run: Run::Op(rms_norm_case) },
    Case { op: "tgis_scores", run: Run::Op(tgis_scores_case) },
    Case { op: "slice_keys", run: Run::Op(slice_keys_case) },
    Case { op: "avg_pool", run: Run::Op(avg_pool_case) },
    Case { op: "linear", run: Run::Op(|rig| linear_case(rig, [70, 200, 20], Epilogue::None)) },
    Case { op: "linear", run: Run::Op(|rig| linear_case(rig, [20, 200, 20], Epilogue::SwiGlu)) },
    Case { op: "linear", run: Run::Op(|rig| linear_case(rig, [2, 600, 20], Epilogue::None)) },
    Case { op: "linear", run: Run::Op(|rig| linear_case(rig, [12, 72, 20], Epilogue::Residual)) },
    Case { op: "rms_linear_argmax", run: Run::Op(rms_linear_argmax_case) },
    Case { op: "attention_full", run: Run::Op(attention_full_case) },
    Case { op: "attention_paged", run: Run::Op(|rig| attention_paged_case(rig, 0, 70, &[])) },
    Case { op: "attention_paged", run: Run::Op(|rig| attention_paged_case(rig, 100, 90, &[20, 70])) },
    Case { op: "attention_paged", run: Run::Op(|rig| attention_paged_case(rig, 199, 1, &[])) },
    Case { op: "sample", run: Run::Op(|rig| sample_case(rig, Sampling::GREEDY)) },
    Case { op: "sample", run: Run::Op(|rig| sample_case(rig, draw(1.0, 40, 0.9))) },
    Case { op: "sample", run: Run::Op(|rig| sample_case(rig, draw(0.7, 0, 0.5))) },
    Case { op: "log_probs", run: Run::Op(log_probs_case) },
    Case { op: "../primitives", run: Run::Kernel(reduced) },
];

/// Schedules under which a mutant is tried.
const SEEDS: std::ops::Range<u64> = 0..4;

fn rms_norm_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let x = rig.acts(&[1, 300], &numbers(1, 300, 1.0));
    let weight = rig.weight(&[300], &numbers(2, 300, 1.0));
    let mut out = rig.poisoned(&[1, 300]);
    rig.device.rms_norm(RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: out.view_mut() })?;
    Ok(rig.read(&out))
}

fn tgis_scores_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let slices = 5;
    let dim = 300;
    let keys = rig.floats(&[slices, dim], &numbers(1, slices * dim, 1.0));
    let guide = rig.weight(&[1, dim], &numbers(2, dim, 1.0));
    let mut scores = rig.poisoned_floats(&[slices]);
    let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature: 5.0, scores: scores.view_mut() };
    rig.device.tgis_scores(op)?;
    Ok(rig.read(&scores))
}

fn slice_keys_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let z_3d = rig.acts(&[1, 20, 40], &numbers(1, 800, 1.0));
    let z_2d = rig.acts(&[2, 30, 40], &numbers(2, 2400, 1.0));
    let mut keys = rig.poisoned_floats(&[2, 40]);
    let z_3d = Some(z_3d.view());
    let z_2d_slices = Some(z_2d.view());
    rig.device.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume: false, keys: keys.view_mut() })?;
    Ok(rig.read(&keys))
}

fn avg_pool_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let x = rig.acts(&[16, 40], &numbers(1, 640, 1.0));
    let mut out = rig.poisoned(&[1, 40]);
    rig.device.avg_pool(AvgPool { x: x.view(), grid: [1, 4, 4], window: [1, 4, 4], out: out.view_mut() })?;
    Ok(rig.read(&out))
}

fn linear_case(rig: &Rig<'_>, [rows, inner, columns]: [usize; 3], epilogue: Epilogue) -> Result<Vec<f32>> {
    let weight_rows = columns << usize::from(epilogue == Epilogue::SwiGlu);
    let x = rig.acts(&[rows, inner], &numbers(1, rows * inner, 1.0));
    let weight = rig.weight(&[weight_rows, inner], &numbers(2, weight_rows * inner, 1.0));
    let mut out = rig.acts(&[rows, columns], &numbers(3, rows * columns, 1.0));
    let op = Linear { x: x.view(), weight: weight.view(), bias: None, epilogue, out: out.view_mut() };
    rig.device.linear(op)?;
    Ok(rig.read(&out))
}

/// More groups of sixteen logits than a warp has lanes.
fn rms_linear_argmax_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let inner = 8;
    let vocab = 1500;
    let x = rig.acts(&[1, inner], &numbers(1, inner, 1.0));
    let norm = rig.weight(&[inner], &numbers(2, inner, 1.0));
    let weight = rig.weight(&[vocab, inner], &numbers(3, vocab * inner, 1.0));
    let ids = rms_linear_argmax::gpu_tests::chosen(rig, &x, &norm, &weight)?;
    Ok(ids.into_iter().map(f32::from_bits).collect())
}

fn attention_full_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let tokens = 200;
    let heads = 1;
    let head_dim = 64;
    let dims = [tokens, heads * head_dim];
    let [q, k, v] = [1, 2, 3].map(|seed| rig.acts(&dims, &numbers(seed, tokens * heads * head_dim, 1.0)));
    let mut out = rig.poisoned(&dims);
    rig.device.attention_full(AttentionFull {
        q: q.view(),
        k: k.view(),
        v: v.view(),
        sequences: 1,
        heads,
        scale: 0.125,
        out: out.view_mut(),
    })?;
    Ok(rig.read(&out))
}

/// `rows` new tokens after `first` cached ones.
fn attention_paged_case(rig: &Rig<'_>, first: usize, rows: usize, runs: &[usize]) -> Result<Vec<f32>> {
    let heads = 2;
    let kv_heads = 1;
    let head_dim = 96;
    let pages = 4;
    let cache = [pages * kv_heads, PAGE_TOKENS, head_dim];
    let [k, v] = [1, 2].map(|seed| rig.acts(&cache, &numbers(seed, cache.iter().product(), 1.0)));
    let q = rig.acts(&[rows, heads * head_dim], &numbers(3, rows * heads * head_dim, 1.0));
    let positions: Vec<u32> = (first as u32..(first + rows) as u32).collect();
    let table = rig.ids(&[2, 0, 3, 1].repeat(runs.len().max(1)));
    let positions = rig.ids(&positions);
    let block_table = if runs.is_empty() { table.view() } else { table.view().reshape(&[runs.len(), 4]) };
    let mut out = rig.poisoned(&[rows, heads * head_dim]);
    rig.device.attention_paged(AttentionPaged {
        q: q.view(),
        k_pages: k.view(),
        v_pages: v.view(),
        block_table,
        runs,
        positions: positions.view(),
        heads,
        kv_heads,
        scale: 0.1,
        out: out.view_mut(),
    })?;
    Ok(rig.read(&out))
}

fn draw(temperature: f32, top_k: u32, top_p: f32) -> Sampling {
    Sampling { temperature, top_k, top_p, seed: 6 }
}

fn sample_case(rig: &Rig<'_>, sampling: Sampling) -> Result<Vec<f32>> {
    let vocab = 1500;
    let logits = rig.floats(&[1, vocab], &numbers(1, vocab, 3.0));
    let choices = rig.ids(&Choice { sampling, step: 1, given: None }.words());
    let choices = choices.view().reshape(&[1, Choice::WORDS]);
    let mut out = rig.ids(&[u32::MAX]);
    rig.device.sample(Sample { logits: logits.view(), choices, out: out.view_mut() })?;
    let id = rig.device.read_u32(out.view())?;
    Ok(id.into_iter().map(f32::from_bits).collect())
}

fn log_probs_case(rig: &Rig<'_>) -> Result<Vec<f32>> {
    let vocab = 1500;
    let ranks = 6;
    let logits = rig.floats(&[1, vocab], &numbers(1, vocab, 3.0));
    let ids = rig.ids(&[700]);
    let mut top = rig.ids(&[u32::MAX; 6]);
    let mut out = rig.poisoned_floats(&[1, 1 + ranks]);
    let named = ids.view().reshape(&[1, 1]);
    let ranked = top.view_mut().reshape(&[1, ranks]);
    rig.device.log_probs(LogProbs { logits: logits.view(), ids: named, top: ranked, out: out.view_mut() })?;
    let ids = rig.device.read_u32(top.view())?;
    Ok(ids.into_iter().map(f32::from_bits).chain(rig.read(&out)).collect())
}

/// A line of source that synchronises.
struct Site {
    /// The end of its path: an op's folder and file, or a header.
    file: String,
    line: u32,
    text: String,
}

/// The sites of a source file.
fn sites_of(path: &Path, file: &str) -> Vec<Site> {
    let source = std::fs::read_to_string(path).expect("readable");
    let calls = ["__syncthreads(", "__syncwarp(", "copy_async_wait<"];
    let is_call = |text: &str| calls.iter().any(|call| text.split("//").next().is_some_and(|code| code.contains(call)));
    let lines = (1..).zip(source.lines()).filter(|(_, text)| is_call(text));
    lines.map(|(line, text)| Site { file: file.to_owned(), line, text: text.trim().to_owned() }).collect()
}

/// All sites of kernels and their helpers.
fn sites() -> Vec<Site> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let paths = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths
    };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let is_source = |path: &Path| path.extension().is_some_and(|end| end == "cu" || end == "cuh");
    let mut found = Vec::new();
    for folder in paths(&root.join("src/ops")).into_iter().filter(|path| path.is_dir()) {
        for path in paths(&folder).into_iter().filter(|path| is_source(path)) {
            found.extend(sites_of(&path, &format!("/{}/{}", name(&folder), name(&path))));
        }
    }
    for path in paths(&root.join("include")).into_iter().filter(|path| is_source(path) && name(path) != "ptx.cuh") {
        found.extend(sites_of(&path, &format!("/{}", name(&path))));
    }
    found
}

/// The bits that a case gives, checked; `None` where it was reported.
fn outcome(case: &Case, seed: u64) -> Option<Vec<u32>> {
    let gpu = Gpu::emulated(Emulation { seed, checked: true });
    let values = match case.run {
        Run::Op(run) => run(&Rig { device: &gpu }),
        Run::Kernel(run) => run(&gpu),
    };
    let values = values.ok()?;
    Some(values.into_iter().map(f32::to_bits).collect())
}

/// Whether some case notices that the site is left out, and whether any comes by it.
fn noticed(site: &Site, cases: &[(&Case, Vec<u32>)]) -> (bool, bool) {
    let mut met_by_any = false;
    let folder = site.file.split('/').nth(1).filter(|_| site.file.matches('/').count() == 2);
    for (case, want) in cases.iter().filter(|(case, _)| folder.is_none_or(|folder| folder == case.op)) {
        for seed in SEEDS {
            // SAFETY: `outcome` runs checked.
            let (got, met) = unsafe { med2e3_simt::without_sync(&site.file, site.line, || outcome(case, seed)) };
            if got.as_ref() != Some(want) {
                return (true, true);
            }
            if met == 0 {
                break;
            }
            met_by_any = true;
        }
    }
    (false, met_by_any)
}

#[test]
fn every_barrier_is_needed() {
    let sites = sites();
    // An op without a kernel yet has nothing to leave out.
    let ops = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
    let has_kernel = |case: &&Case| ops.join(case.op).join("kernel.cu").exists();
    let with_result = |case| (case, outcome(case, 0).unwrap_or_else(|| panic!("{} is reported as it is", case.op)));
    let cases: Vec<(&Case, Vec<u32>)> = CASES.iter().filter(has_kernel).map(with_result).collect();
    let mut complaints = Vec::new();
    for site in &sites {
        let complaint = match noticed(site, &cases) {
            (true, _) => continue,
            (false, true) => "is not missed: remove it, or add a case that needs it",
            (false, false) => "is passed by no case: add one",
        };
        complaints.push(format!("{}:{} `{}` {complaint}", site.file, site.line, site.text));
    }
    assert!(complaints.is_empty(), "{} barriers:\n{}", complaints.len(), complaints.join("\n"));
}
