//! The sizes: rows on 16-byte boundaries as the model's are, fewer of them.
use super::{Bench, Case, Excuse, NO_EXCUSE};
use crate::ops::linear::launch::{Way, run_as};
use crate::ops::*;
use crate::{DType, PAGE_TOKENS};

pub(super) const CASES: &[Case] = &[
    Case::new("advance", "32", advance),
    Case::new("copy", "64x96", copy),
    Case::new("rms_norm", "4x768", rms_norm),
    Case::new("layer_norm", "4x768", layer_norm),
    Case::new("embed_tokens", "16x768", embed_tokens),
    Case::new("embed_bert", "16x768", embed_bert),
    Case::new("avg_pool", "8x8x8x64", avg_pool),
    Case::new("slice_keys", "8x64x256", slice_keys),
    Case::new("tgis_scores", "8x768", tgis_scores),
    Case::new("slice_combine", "8x64x256", slice_combine),
    Case::new("slice_max", "8x64x256", slice_max),
    Case::new("linear", "large 256x128x256", |bench| linear(bench, [256, 128, 256], Epilogue::None, Some(Way::Large))),
    Case::new("linear", "small 128x128x128", |bench| linear(bench, [128, 128, 128], Epilogue::None, None)),
    Case::new("linear", "small swiglu 64x128x64", |bench| linear(bench, [64, 128, 64], Epilogue::SwiGlu, None)),
    Case::new("linear", "few 1x1024x64", |bench| linear(bench, [1, 1024, 64], Epilogue::None, None)),
    Case::new("linear", "few 8x1024x64", |bench| linear(bench, [8, 1024, 64], Epilogue::Residual, None)),
    Case::new("rms_linear", "1x1024x64", |bench| rms_linear(bench, 1)),
    Case::new("rms_linear", "8x1024x64", |bench| rms_linear(bench, 8)),
    Case::new("rms_linear_argmax", "1x512x2048", rms_linear_argmax),
    Case::new("qkv_rope_append", "64 of 4x96", qkv_rope_append).but(Excuse {
        why: "a lane's eight angles are two requests for halves of sectors",
        sectors: 1.2,
        ..NO_EXCUSE
    }),
    Case::new("rms_qkv_rope_append", "1x512 of 4x96", rms_qkv_rope_append),
    Case::new("attention_full", "256 of 1x64", attention_full),
    Case::new("attention_paged", "decode 1 at 511", |bench| attention_paged(bench, 511, 1, &[])).but(Excuse {
        why: "a page's largest score and sum are read alone",
        sectors: 1.45,
        ..NO_EXCUSE
    }),
    Case::new("attention_paged", "prefill 128", |bench| attention_paged(bench, 0, 128, &[])),
    Case::new("attention_paged", "prefill 2x128", |bench| attention_paged(bench, 0, 256, &[128, 128])),
    Case::new("log_probs", "2x8192, 20 ranks", log_probs).but(Excuse {
        why: "the thread whose token gets a rank reads its own ones again, each in a sector of its own",
        sectors: 1.2,
        ..NO_EXCUSE
    }),
    Case::new("sample", "greedy 32064", |bench| sample(bench, Sampling::GREEDY)),
    Case::new("sample", "drawn 4096", sample_drawn).but(Excuse {
        why: "logits fall into bins as they are",
        turns: 1.15,
        ..NO_EXCUSE
    }),
    Case::new("patch_embed_3d", "8x32x32 to 64", patch_embed_3d).but(Excuse {
        why: "patches are gathered into the workspace",
        memory: 1.25,
        ..NO_EXCUSE
    }),
    Case::new("patch_embed_2d", "2x64x64 to 64", patch_embed_2d).but(Excuse {
        why: "patches are gathered into the workspace",
        memory: 1.6,
        ..NO_EXCUSE
    }),
    Case::new("preprocess_volume", "16x32x64 to 8x32x32", preprocess_volume).but(Excuse {
        why: "columns are halved, so each of two requests wants every other voxel of its sectors",
        sectors: 1.9,
        ..NO_EXCUSE
    }),
];

fn advance(bench: &Bench<'_>) {
    let mut counters = bench.ids(&[0; 32]);
    bench.must_move(counters.bytes());
    bench.rig.device.advance(Advance { counters: counters.view_mut() }).expect("valid");
}

fn copy(bench: &Bench<'_>) {
    let x = bench.acts(&[64, 96]);
    let mut out = bench.acts(&[64, 96]);
    bench.rig.device.copy(Copy { x: x.view(), out: out.view_mut() }).expect("valid");
}

fn rms_norm(bench: &Bench<'_>) {
    let x = bench.acts(&[4, 768]);
    let weight = bench.acts(&[768]);
    let mut out = bench.acts(&[4, 768]);
    let op = RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: out.view_mut() };
    bench.rig.device.rms_norm(op).expect("valid");
}

fn layer_norm(bench: &Bench<'_>) {
    let x = bench.acts(&[4, 768]);
    let mut out = bench.acts(&[4, 768]);
    let [weight, bias] = [(); 2].map(|()| bench.acts(&[768]));
    let op = LayerNorm { x: x.view(), weight: weight.view(), bias: bias.view(), eps: 1e-5, out: out.view_mut() };
    bench.rig.device.layer_norm(op).expect("valid");
}

fn embed_tokens(bench: &Bench<'_>) {
    let table = bench.free(&[64, 768]);
    let mut out = bench.acts(&[16, 768]);
    bench.must_move(out.bytes());
    let ids = bench.ids(&(0..16).map(|row| row * 3).collect::<Vec<u32>>());
    let op = EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() };
    bench.rig.device.embed_tokens(op).expect("valid");
}

fn embed_bert(bench: &Bench<'_>) {
    let words = bench.free(&[64, 768]);
    let mut out = bench.acts(&[16, 768]);
    bench.must_move(out.bytes());
    let [positions, types] = [16, 1].map(|rows| bench.acts(&[rows, 768]));
    let [weight, bias] = [(); 2].map(|()| bench.acts(&[768]));
    let ids = bench.ids(&(0..16).map(|row| row * 3).collect::<Vec<u32>>());
    let op = EmbedBert {
        words: words.view(),
        positions: positions.view(),
        types: types.view(),
        weight: weight.view(),
        bias: bias.view(),
        eps: 1e-5,
        ids: ids.view(),
        out: out.view_mut(),
    };
    bench.rig.device.embed_bert(op).expect("valid");
}

fn avg_pool(bench: &Bench<'_>) {
    let x = bench.acts(&[512, 64]);
    let mut out = bench.acts(&[64, 64]);
    let op = AvgPool { x: x.view(), grid: [8, 8, 8], window: [2, 2, 2], out: out.view_mut() };
    bench.rig.device.avg_pool(op).expect("valid");
}

fn slice_keys(bench: &Bench<'_>) {
    let z_3d = bench.acts(&[4, 16, 256]);
    let z_2d = bench.acts(&[8, 64, 256]);
    let mut keys = bench.floats(&[8, 256]);
    let z_3d = Some(z_3d.view());
    let z_2d_slices = Some(z_2d.view());
    let op = SliceKeys { z_3d, z_2d_slices, whole_volume: false, keys: keys.view_mut() };
    bench.rig.device.slice_keys(op).expect("valid");
}

fn tgis_scores(bench: &Bench<'_>) {
    let keys = bench.floats(&[8, 768]);
    let guide = bench.acts(&[1, 768]);
    let mut scores = bench.floats(&[8]);
    let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature: 5.0, scores: scores.view_mut() };
    bench.rig.device.tgis_scores(op).expect("valid");
}

fn slice_combine(bench: &Bench<'_>) {
    let slices = bench.acts(&[8, 64, 256]);
    let scores = bench.floats(&[8]);
    let mut out = bench.acts(&[64, 256]);
    let op = SliceCombine { z_2d_slices: slices.view(), scores: scores.view(), out: out.view_mut() };
    bench.rig.device.slice_combine(op).expect("valid");
}

fn slice_max(bench: &Bench<'_>) {
    let slices = bench.acts(&[8, 64, 256]);
    let mut out = bench.acts(&[64, 256]);
    bench.rig.device.slice_max(SliceMax { z_2d_slices: slices.view(), out: out.view_mut() }).expect("valid");
}

fn linear(bench: &Bench<'_>, [rows, inner, columns]: [usize; 3], epilogue: Epilogue, way: Option<Way>) {
    let x = bench.acts(&[rows, inner]);
    let weight = bench.acts(&[columns << usize::from(epilogue == Epilogue::SwiGlu), inner]);
    let mut out = bench.acts(&[rows, columns]);
    bench.must_move(if epilogue == Epilogue::Residual { out.bytes() } else { 0 });
    let op = Linear { x: x.view(), weight: weight.view(), bias: None, epilogue, out: out.view_mut() };
    match way {
        Some(way) => run_as(bench.gpu, op, way),
        None => bench.rig.device.linear(op),
    }
    .expect("valid");
}

fn rms_linear(bench: &Bench<'_>, rows: usize) {
    let x = bench.acts(&[rows, 1024]);
    let norm = bench.acts(&[1024]);
    let weight = bench.acts(&[64, 1024]);
    let mut out = bench.acts(&[rows, 64]);
    let x = x.view();
    let norm = norm.view();
    let weight = weight.view();
    let op = RmsLinear { x, norm, eps: 1e-5, weight, epilogue: Epilogue::None, out: out.view_mut() };
    bench.rig.device.rms_linear(op).expect("valid");
}

fn rms_linear_argmax(bench: &Bench<'_>) {
    let inner = 512;
    let vocab = 2048;
    let x = bench.acts(&[1, inner]);
    let norm = bench.acts(&[inner]);
    let weight = bench.acts(&[vocab, inner]);
    let candidates = rms_linear_argmax::candidates(vocab);
    let mut scratch = bench.rig.device.tensor(&[1, candidates], DType::U32).expect("test memory");
    // Written by the first kernel, read by the second.
    bench.must_move(2 * scratch.bytes());
    let mut out = bench.ids(&[0]);
    let x = x.view();
    let norm = norm.view();
    let weight = weight.view();
    let scratch = scratch.view_mut();
    let out = out.view_mut();
    let op = RmsLinearArgmax { x, norm, eps: 1e-5, weight, scratch, out };
    bench.rig.device.rms_linear_argmax(op).expect("valid");
}

fn qkv_rope_append(bench: &Bench<'_>) {
    let rows = 64;
    let heads = 4;
    let head_dim = 96;
    let qkv = bench.acts(&[rows, 3 * heads * head_dim]);
    let [cos, sin] = [(); 2].map(|()| bench.floats(&[rows, head_dim / 2]));
    let positions = bench.ids(&(0..rows as u32).collect::<Vec<u32>>());
    let table = bench.ids(&[0]);
    let mut q = bench.acts(&[rows, heads * head_dim]);
    let [mut k, mut v] = [(); 2].map(|()| bench.acts(&[heads, PAGE_TOKENS, head_dim]));
    let op = QkvRopeAppend {
        qkv: qkv.view(),
        cos: cos.view(),
        sin: sin.view(),
        positions: positions.view(),
        block_table: table.view(),
        heads,
        kv_heads: heads,
        q: q.view_mut(),
        k_pages: k.view_mut(),
        v_pages: v.view_mut(),
    };
    bench.rig.device.qkv_rope_append(op).expect("valid");
}

fn rms_qkv_rope_append(bench: &Bench<'_>) {
    let inner = 512;
    let heads = 4;
    let head_dim = 96;
    let x = bench.acts(&[1, inner]);
    let norm = bench.acts(&[inner]);
    let weight = bench.acts(&[3 * heads * head_dim, inner]);
    let [cos, sin] = [(); 2].map(|()| bench.floats(&[1, head_dim / 2]));
    let positions = bench.ids(&[0]);
    let table = bench.ids(&[0]);
    let mut q = bench.acts(&[1, heads * head_dim]);
    let [mut k, mut v] = [(); 2].map(|()| bench.free(&[heads, PAGE_TOKENS, head_dim]));
    bench.must_move(2 * q.bytes());
    let op = RmsQkvRopeAppend {
        x: x.view(),
        norm: norm.view(),
        eps: 1e-5,
        weight: weight.view(),
        cos: cos.view(),
        sin: sin.view(),
        positions: positions.view(),
        block_table: table.view(),
        heads,
        kv_heads: heads,
        q: q.view_mut(),
        k_pages: k.view_mut(),
        v_pages: v.view_mut(),
    };
    bench.rig.device.rms_qkv_rope_append(op).expect("valid");
}

fn attention_full(bench: &Bench<'_>) {
    let [q, k, v] = [(); 3].map(|()| bench.acts(&[256, 64]));
    let mut out = bench.acts(&[256, 64]);
    let q = q.view();
    let k = k.view();
    let v = v.view();
    let op = AttentionFull { q, k, v, sequences: 1, heads: 1, scale: 0.125, out: out.view_mut() };
    bench.rig.device.attention_full(op).expect("valid");
}

/// The last `rows` of `first + rows` tokens, of as many sequences as there are `runs` of them, or of one.
fn attention_paged(bench: &Bench<'_>, first: usize, rows: usize, runs: &[usize]) {
    let sequences = runs.len().max(1);
    let heads = 2;
    let head_dim = 96;
    let pages = sequences * (first + rows / sequences) / PAGE_TOKENS;
    let q = bench.acts(&[rows, heads * head_dim]);
    let [k, v] = [(); 2].map(|()| bench.acts(&[pages * heads, PAGE_TOKENS, head_dim]));
    let table = bench.ids(&(0..pages as u32).rev().collect::<Vec<u32>>());
    let positions = (first as u32..(first + rows / sequences) as u32).collect::<Vec<u32>>().repeat(sequences);
    let positions = bench.ids(&positions);
    let mut out = bench.acts(&[rows, heads * head_dim]);
    let tables = table.view().reshape(&[sequences, pages / sequences]);
    let op = AttentionPaged {
        q: q.view(),
        k_pages: k.view(),
        v_pages: v.view(),
        block_table: if runs.is_empty() { table.view() } else { tables },
        runs,
        positions: positions.view(),
        heads,
        kv_heads: heads,
        scale: 0.1,
        out: out.view_mut(),
    };
    bench.rig.device.attention_paged(op).expect("valid");
}

fn sample(bench: &Bench<'_>, sampling: Sampling) {
    let vocab = if sampling.temperature == 0.0 { 32_064 } else { 4096 };
    let logits = bench.floats(&[1, vocab]);
    let mut out = bench.ids(&[0]);
    let choices = bench.ids(&Choice { sampling, step: 1, given: None }.words());
    let choices = choices.view().reshape(&[1, Choice::WORDS]);
    bench.rig.device.sample(Sample { logits: logits.view(), choices, out: out.view_mut() }).expect("valid");
}

fn log_probs(bench: &Bench<'_>) {
    let rows = 2;
    let vocab = 8192;
    let ranks = 20;
    let logits = bench.floats(&[rows, vocab]);
    let ids = bench.ids(&[700, 7000]);
    let mut top = bench.ids(&vec![0; rows * ranks]);
    let mut out = bench.floats(&[rows, 1 + ranks]);
    let named = ids.view().reshape(&[rows, 1]);
    let ranked = top.view_mut().reshape(&[rows, ranks]);
    let op = LogProbs { logits: logits.view(), ids: named, top: ranked, out: out.view_mut() };
    bench.rig.device.log_probs(op).expect("valid");
}

fn sample_drawn(bench: &Bench<'_>) {
    sample(bench, Sampling { temperature: 0.8, top_k: 40, top_p: 0.9, seed: 6 });
}

fn patch_embed_3d(bench: &Bench<'_>) {
    let patch = [4, 16, 16];
    let hidden = 64;
    let volume = bench.floats(&[8, 32, 32]);
    let weight = bench.acts(&[hidden, 1024]);
    let bias = bench.acts(&[hidden]);
    let positions = bench.acts(&[8, hidden]);
    let class_token = bench.acts(&[1, hidden]);
    let mut out = bench.acts(&[9, hidden]);
    let op = PatchEmbed3d {
        volume: volume.view(),
        patch,
        weight: weight.view(),
        bias: bias.view(),
        positions: positions.view(),
        class_token: class_token.view(),
        out: out.view_mut(),
    };
    bench.rig.device.patch_embed_3d(op).expect("valid");
}

fn patch_embed_2d(bench: &Bench<'_>) {
    let volume = bench.floats(&[2, 64, 64]);
    let weight = bench.acts(&[64, 256]);
    let bias = bench.acts(&[64]);
    let positions = bench.acts(&[16, 64]);
    let mut out = bench.acts(&[32, 64]);
    let op = PatchEmbed2d {
        volume: volume.view(),
        patch: 16,
        weight: weight.view(),
        bias: bias.view(),
        positions: positions.view(),
        out: out.view_mut(),
    };
    bench.rig.device.patch_embed_2d(op).expect("valid");
}

fn preprocess_volume(bench: &Bench<'_>) {
    let slab = bench.floats(&[16, 32, 64]);
    let mut out = bench.floats(&[8, 32, 32]);
    let scale = Some([-1.0, 1.0]);
    let crop = [[0, 16], [0, 32], [0, 64]];
    let op = PreprocessVolume { slab: slab.view(), first_slice: 0, scale, crop, out: out.view_mut() };
    bench.rig.device.preprocess_volume(op).expect("valid");
}
