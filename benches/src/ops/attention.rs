//! Attention: both encoders, the text encoder, prefill and decode.
use super::{Call, Entry, bytes};
use crate::inputs::{PagedAttention, activations};
use med2e3_kernels::Device;
use med2e3_kernels::ops::AttentionFull;

/// Sequences, tokens, heads of 64 columns.
const FULL: [(&str, [usize; 3]); 3] = [("vit", [1, 2049, 12]), ("siglip", [8, 256, 16]), ("bert", [1, 32, 12])];

/// New tokens and the context with them.
const PAGED: [(&str, [usize; 2]); 4] =
    [("prefill", [576, 576]), ("second_half", [320, 600]), ("decode", [1, 680]), ("decode_16", [16, 680])];

pub(super) fn entries() -> Vec<Entry> {
    let full =
        FULL.into_iter().map(|(size, sizes)| Entry::new("attention_full", size, move |device| full(device, sizes)));
    let paged = PAGED.into_iter().map(|(size, [rows, context])| {
        Entry::new("attention_paged", size, move |device| {
            let mut attention = PagedAttention::new(device, rows, context);
            Call { flops: attention.flops, bytes: attention.bytes, run: Box::new(move || attention.run(device)) }
        })
    });
    full.chain(paged).collect()
}

fn full(device: &dyn Device, [sequences, tokens, heads]: [usize; 3]) -> Call<'_> {
    let hidden = heads * 64;
    let [q, k, v, mut out] = [0; 4].map(|_| activations(device, &[sequences * tokens, hidden]));
    Call {
        flops: 4 * sequences * tokens * tokens * hidden,
        bytes: bytes(&[&q, &k, &v, &out]),
        run: Box::new(move || {
            let q = q.view();
            let k = k.view();
            let v = v.view();
            device.attention_full(AttentionFull { q, k, v, sequences, heads, scale: 0.125, out: out.view_mut() })
        }),
    }
}
