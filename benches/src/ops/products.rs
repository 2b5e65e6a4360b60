//! Products: `linear` and, for the few rows of a decoding step, the ops that begin with a norm.
use super::{Call, Entry, bytes};
use crate::inputs::{activations, floats, ids, weights};
use med2e3_kernels::ops::*;
use med2e3_kernels::{DType, Device, Tensor};

/// Rows, inner, columns: SigLIP, the 3D ViT, the connectors, Phi-3's prefill and decode.
const LINEAR: [(&str, [usize; 3], Epilogue); 14] = [
    ("siglip_qkv", [2048, 1024, 1024], Epilogue::None),
    ("siglip_fc1", [2048, 1024, 4096], Epilogue::GeluTanh),
    ("siglip_fc2", [2048, 4096, 1024], Epilogue::Residual),
    ("vit_qkv", [2049, 768, 2304], Epilogue::None),
    ("vit_fc1", [2049, 768, 3072], Epilogue::GeluErf),
    ("vit_fc2", [2049, 3072, 768], Epilogue::Residual),
    ("connector", [2048, 1024, 3072], Epilogue::GeluErf),
    ("pooler", [32, 768, 768], Epilogue::Tanh),
    ("prefill_qkv", [576, 3072, 9216], Epilogue::None),
    ("prefill_gate_up", [576, 3072, 8192], Epilogue::SwiGlu),
    ("prefill_down", [576, 8192, 3072], Epilogue::Residual),
    ("decode_out", [1, 3072, 3072], Epilogue::Residual),
    ("decode_down", [1, 8192, 3072], Epilogue::Residual),
    ("decode_down_16", [16, 8192, 3072], Epilogue::Residual),
];

/// Rows of a decoding step.
const FEW: [(&str, usize); 3] = [("decode", 1), ("decode_8", 8), ("decode_16", 16)];

const HIDDEN: usize = 3072;
const HEADS: usize = 32;
const HEAD_DIM: usize = 96;
const VOCAB: usize = 32_064;

pub(super) fn entries() -> Vec<Entry> {
    let products = LINEAR
        .into_iter()
        .map(|(size, sizes, epilogue)| Entry::new("linear", size, move |device| linear(device, sizes, epilogue)));
    let few = FEW.into_iter().flat_map(|(size, rows)| {
        [
            Entry::new("rms_linear", size, move |device| gate_up(device, rows)),
            Entry::new("rms_qkv_rope_append", size, move |device| project(device, rows)),
            Entry::new("rms_linear_argmax", size, move |device| head(device, rows)),
        ]
    });
    products.chain(few).collect()
}

fn linear(device: &dyn Device, [rows, inner, columns]: [usize; 3], epilogue: Epilogue) -> Call<'_> {
    let gated = epilogue == Epilogue::SwiGlu;
    let x = activations(device, &[rows, inner]);
    let mut out = activations(device, &[rows, columns]);
    let weight = weights(device, &[columns << usize::from(gated), inner]);
    let bias = (!gated).then(|| weights(device, &[columns]));
    let again = if epilogue == Epilogue::Residual { out.bytes() } else { 0 };
    Call {
        flops: 2 * rows * weight.dims().count(),
        bytes: bytes(&[&x, &weight, &out]) + again,
        run: Box::new(move || {
            let weight = weight.view();
            let bias = bias.as_ref().map(Tensor::view);
            device.linear(Linear { x: x.view(), weight, bias, epilogue, out: out.view_mut() })
        }),
    }
}

fn gate_up(device: &dyn Device, rows: usize) -> Call<'_> {
    let x = activations(device, &[rows, HIDDEN]);
    let mut out = activations(device, &[rows, 8192]);
    let norm = weights(device, &[HIDDEN]);
    let weight = weights(device, &[2 * 8192, HIDDEN]);
    Call {
        flops: 2 * rows * weight.dims().count(),
        bytes: bytes(&[&x, &weight, &out]),
        run: Box::new(move || {
            let norm = norm.view();
            let weight = weight.view();
            let epilogue = Epilogue::SwiGlu;
            device.rms_linear(RmsLinear { x: x.view(), norm, eps: 1e-5, weight, epilogue, out: out.view_mut() })
        }),
    }
}

fn project(device: &dyn Device, rows: usize) -> Call<'_> {
    let pages = 11;
    let x = activations(device, &[rows, HIDDEN]);
    let mut q = activations(device, &[rows, HIDDEN]);
    let norm = weights(device, &[HIDDEN]);
    let weight = weights(device, &[3 * HIDDEN, HIDDEN]);
    let angles = floats(device, &[64 * pages, HEAD_DIM / 2]);
    let positions = ids(device, &(680..680 + rows as u32).collect::<Vec<u32>>());
    let table = ids(device, &(0..pages as u32).rev().collect::<Vec<u32>>());
    let [mut k, mut v] = [0; 2].map(|_| activations(device, &[pages * HEADS, 64, HEAD_DIM]));
    Call {
        flops: 2 * rows * weight.dims().count(),
        bytes: bytes(&[&x, &weight]) + 3 * q.bytes(),
        run: Box::new(move || {
            device.rms_qkv_rope_append(RmsQkvRopeAppend {
                x: x.view(),
                norm: norm.view(),
                eps: 1e-5,
                weight: weight.view(),
                cos: angles.view(),
                sin: angles.view(),
                positions: positions.view(),
                block_table: table.view(),
                heads: HEADS,
                kv_heads: HEADS,
                q: q.view_mut(),
                k_pages: k.view_mut(),
                v_pages: v.view_mut(),
            })
        }),
    }
}

fn head(device: &dyn Device, rows: usize) -> Call<'_> {
    let x = activations(device, &[rows, HIDDEN]);
    let norm = weights(device, &[HIDDEN]);
    let weight = weights(device, &[VOCAB, HIDDEN]);
    let mut scratch = device.tensor(&[rows, rms_linear_argmax::candidates(VOCAB)], DType::U32).expect("memory");
    let mut out = ids(device, &vec![0; rows]);
    Call {
        flops: 2 * rows * weight.dims().count(),
        bytes: bytes(&[&x, &weight, &out]),
        run: Box::new(move || {
            let norm = norm.view();
            let weight = weight.view();
            let scratch = scratch.view_mut();
            let out = out.view_mut();
            device.rms_linear_argmax(RmsLinearArgmax { x: x.view(), norm, eps: 1e-5, weight, scratch, out })
        }),
    }
}
