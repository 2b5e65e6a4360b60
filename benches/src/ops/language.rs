//! Embeddings, norms, rotation and sampling around the language model's products, and the text encoder's embedding.
use super::{Call, Entry, bytes};
use crate::inputs::{activations, floats, ids, weights};
use med2e3_kernels::Device;
use med2e3_kernels::ops::*;

const HIDDEN: usize = 3072;
const VOCAB: usize = 32_064;
const PROMPT: usize = 576;

pub(super) fn entries() -> Vec<Entry> {
    let drawn = Sampling { temperature: 0.7, top_k: 40, top_p: 0.9, seed: 1 };
    vec![
        Entry::new("embed_tokens", "prefill", embed_tokens),
        Entry::new("embed_bert", "question", embed_bert),
        Entry::new("rms_norm", "prefill", rms_norm),
        Entry::new("qkv_rope_append", "prefill", qkv_rope_append),
        Entry::new("sample", "greedy", |device| sample(device, Sampling::GREEDY)),
        Entry::new("sample", "top_k_and_p", move |device| sample(device, drawn)),
        Entry::new("log_probs", "16_rows", log_probs),
        Entry::new("copy", "image_tokens", copy),
        Entry::new("advance", "one", advance),
    ]
}

fn embed_tokens(device: &dyn Device) -> Call<'_> {
    let table = weights(device, &[VOCAB, HIDDEN]);
    let mut out = activations(device, &[PROMPT, HIDDEN]);
    let ids = ids(device, &(0..PROMPT).map(|i| (i * 7919 % VOCAB) as u32).collect::<Vec<u32>>());
    Call {
        flops: 0,
        bytes: PROMPT * HIDDEN * 2 + out.bytes(),
        run: Box::new(move || {
            device.embed_tokens(EmbedTokens { table: table.view(), ids: ids.view(), out: out.view_mut() })
        }),
    }
}

fn embed_bert(device: &dyn Device) -> Call<'_> {
    let rows = 32;
    let hidden = 768;
    let words = weights(device, &[30_522, hidden]);
    let positions = weights(device, &[512, hidden]);
    let types = weights(device, &[2, hidden]);
    let weight = weights(device, &[hidden]);
    let bias = weights(device, &[hidden]);
    let ids = ids(device, &(0..rows).map(|i| i * 911).collect::<Vec<u32>>());
    let mut out = activations(device, &[rows as usize, hidden]);
    Call {
        flops: 0,
        bytes: 2 * (rows as usize * hidden * 2) + out.bytes(),
        run: Box::new(move || {
            device.embed_bert(EmbedBert {
                words: words.view(),
                positions: positions.view(),
                types: types.view(),
                weight: weight.view(),
                bias: bias.view(),
                eps: 1e-12,
                ids: ids.view(),
                out: out.view_mut(),
            })
        }),
    }
}

fn rms_norm(device: &dyn Device) -> Call<'_> {
    let x = activations(device, &[PROMPT, HIDDEN]);
    let mut out = activations(device, &[PROMPT, HIDDEN]);
    let weight = weights(device, &[HIDDEN]);
    Call {
        flops: 0,
        bytes: bytes(&[&x, &out]),
        run: Box::new(move || {
            device.rms_norm(RmsNorm { x: x.view(), weight: weight.view(), eps: 1e-5, out: out.view_mut() })
        }),
    }
}

fn qkv_rope_append(device: &dyn Device) -> Call<'_> {
    let heads = 32;
    let head_dim = 96;
    let pages = PROMPT / 64;
    let qkv = activations(device, &[PROMPT, 3 * HIDDEN]);
    let mut q = activations(device, &[PROMPT, HIDDEN]);
    let angles = floats(device, &[PROMPT, head_dim / 2]);
    let positions = ids(device, &(0..PROMPT as u32).collect::<Vec<u32>>());
    let table = ids(device, &(0..pages as u32).rev().collect::<Vec<u32>>());
    let [mut k, mut v] = [0; 2].map(|_| activations(device, &[pages * heads, 64, head_dim]));
    Call {
        flops: 0,
        bytes: bytes(&[&qkv, &q, &k, &v]) + 2 * angles.bytes(),
        run: Box::new(move || {
            device.qkv_rope_append(QkvRopeAppend {
                qkv: qkv.view(),
                cos: angles.view(),
                sin: angles.view(),
                positions: positions.view(),
                block_table: table.view(),
                heads,
                kv_heads: heads,
                q: q.view_mut(),
                k_pages: k.view_mut(),
                v_pages: v.view_mut(),
            })
        }),
    }
}

fn sample(device: &dyn Device, sampling: Sampling) -> Call<'_> {
    let logits = floats(device, &[1, VOCAB]);
    let mut out = ids(device, &[0]);
    let choices = ids(device, &Choice { sampling, step: 1, given: None }.words());
    Call {
        flops: 0,
        bytes: bytes(&[&logits, &choices, &out]),
        run: Box::new(move || {
            let choices = choices.view().reshape(&[1, Choice::WORDS]);
            device.sample(Sample { logits: logits.view(), choices, out: out.view_mut() })
        }),
    }
}

/// Of a step of sixteen rows: the chosen token of each and the twenty most likely.
fn log_probs(device: &dyn Device) -> Call<'_> {
    let rows = 16;
    let ranks = 20;
    let logits = floats(device, &[rows, VOCAB]);
    let named = ids(device, &[5; 16]);
    let mut top = ids(device, &[0; 16 * 20]);
    let mut out = floats(device, &[rows, 1 + ranks]);
    Call {
        flops: 2 * rows * VOCAB,
        bytes: bytes(&[&logits, &named, &top, &out]),
        run: Box::new(move || {
            let ids = named.view().reshape(&[rows, 1]);
            let top = top.view_mut().reshape(&[rows, ranks]);
            device.log_probs(LogProbs { logits: logits.view(), ids, top, out: out.view_mut() })
        }),
    }
}

fn copy(device: &dyn Device) -> Call<'_> {
    let x = activations(device, &[512, HIDDEN]);
    let mut out = activations(device, &[512, HIDDEN]);
    Call {
        flops: 0,
        bytes: bytes(&[&x, &out]),
        run: Box::new(move || device.copy(Copy { x: x.view(), out: out.view_mut() })),
    }
}

fn advance(device: &dyn Device) -> Call<'_> {
    let mut counters = ids(device, &[0]);
    Call {
        flops: 0,
        bytes: 2 * counters.bytes(),
        run: Box::new(move || device.advance(Advance { counters: counters.view_mut() })),
    }
}
