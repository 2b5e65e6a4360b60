//! Every op of the CPU device at the released model's sizes. Throughput is floating-point operations per second
//! for products and attention, bytes read and written per second for the rest.
#![expect(missing_docs, reason = "criterion's macros make functions without documentation")]
use benches::inputs::{PagedAttention, activations, weights};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::ops::*;
use kernels::{Cpu, DType, Device, Precision, Tensor};

const CPU: Cpu = Cpu { precision: Precision::Exact };

/// Rows, inner, columns: SigLIP, the 3D ViT, the connectors, Phi-3's prefill and decode.
const LINEAR: [(&str, [usize; 3], Epilogue); 11] = [
    ("siglip_qkv", [8192, 1024, 1024], Epilogue::None),
    ("siglip_fc1", [8192, 1024, 4096], Epilogue::GeluTanh),
    ("siglip_fc2", [8192, 4096, 1024], Epilogue::Residual),
    ("vit_fc1", [2049, 768, 3072], Epilogue::GeluErf),
    ("vit_fc2", [2049, 3072, 768], Epilogue::Residual),
    ("connector", [8192, 1024, 3072], Epilogue::GeluErf),
    ("prefill_qkv", [576, 3072, 9216], Epilogue::None),
    ("prefill_gate_up", [576, 3072, 8192], Epilogue::SwiGlu),
    ("decode_qkv", [1, 3072, 9216], Epilogue::None),
    ("decode_gate_up", [1, 3072, 8192], Epilogue::SwiGlu),
    ("decode_4_rows", [4, 3072, 9216], Epilogue::None),
];

fn linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    for (name, [rows, inner, columns], epilogue) in LINEAR {
        let gated = epilogue == Epilogue::SwiGlu;
        let (x, mut out) = (activations(&CPU, &[rows, inner]), activations(&CPU, &[rows, columns]));
        // Few rows stream the weights: four copies keep them out of the cache.
        let copies = if rows <= 8 { 4 } else { 1 };
        let matrices: Vec<Tensor> =
            (0..copies).map(|_| weights(&CPU, &[columns << usize::from(gated), inner])).collect();
        let bias = (!gated).then(|| weights(&CPU, &[columns]));
        group.throughput(Throughput::Elements(2 * (rows * matrices[0].dims().count()) as u64));
        let mut next = 0;
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                next = (next + 1) % copies;
                let (weight, bias) = (matrices[next].view(), bias.as_ref().map(Tensor::view));
                CPU.linear(Linear { x: x.view(), weight, bias, epilogue, out: out.view_mut() }).expect("valid");
            });
        });
    }
    group.finish();
}

fn attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    group.sample_size(10);
    for (name, sequences, tokens, heads) in [("vit", 1, 2049, 12), ("siglip", 32, 256, 16)] {
        let hidden = heads * 64;
        let [q, k, v, mut out] = [0; 4].map(|_| activations(&CPU, &[sequences * tokens, hidden]));
        group.throughput(Throughput::Elements(4 * (sequences * tokens * tokens * hidden) as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let (q, k, v) = (q.view(), k.view(), v.view());
                let op = AttentionFull { q, k, v, sequences, heads, scale: 0.125, out: out.view_mut() };
                CPU.attention_full(op).expect("valid");
            });
        });
    }
    for (name, rows, context) in [("prefill_576", 576, 576), ("decode_680", 1, 680)] {
        let mut attention = PagedAttention::new(&CPU, rows, context);
        group.throughput(Throughput::Elements(attention.flops as u64));
        group.bench_function(name, |b| b.iter(|| attention.run(&CPU).expect("valid")));
    }
    group.finish();
}

/// Norms, pooling and TG-IS: bound by memory.
fn memory_bound(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory_bound");
    let (x, mut out) = (activations(&CPU, &[8192, 1024]), activations(&CPU, &[8192, 1024]));
    let scale = weights(&CPU, &[1024]);
    group.throughput(Throughput::Bytes(8 * 8192 * 1024));
    group.bench_function("layer_norm", |b| {
        b.iter(|| {
            let (weight, bias) = (scale.view(), scale.view());
            let op = LayerNorm { x: x.view(), weight, bias, eps: 1e-6, out: out.view_mut() };
            CPU.layer_norm(op).expect("valid");
        });
    });
    group.bench_function("rms_norm", |b| {
        b.iter(|| {
            let op = RmsNorm { x: x.view(), weight: scale.view(), eps: 1e-5, out: out.view_mut() };
            CPU.rms_norm(op).expect("valid");
        });
    });
    let slices = activations(&CPU, &[32, 256, 3072]);
    let (z_3d, guide) = (activations(&CPU, &[4, 64, 3072]), activations(&CPU, &[1, 3072]));
    let (mut keys, mut combined) = (activations(&CPU, &[32, 3072]), activations(&CPU, &[256, 3072]));
    let mut scores = (&CPU as &dyn Device).tensor(&[32], DType::F32).expect("memory");
    group.throughput(Throughput::Bytes(4 * 32 * 256 * 3072));
    group.bench_function("slice_keys", |b| {
        b.iter(|| {
            let (z_3d, z_2d_slices) = (Some(z_3d.view()), Some(slices.view()));
            let op = SliceKeys { z_3d, z_2d_slices, whole_volume: false, keys: keys.view_mut() };
            CPU.slice_keys(op).expect("valid");
        });
    });
    let op = TgisScores { keys: keys.view(), guide: guide.view(), temperature: 5.0, scores: scores.view_mut() };
    CPU.tgis_scores(op).expect("valid");
    group.bench_function("slice_combine", |b| {
        b.iter(|| {
            let (z_2d_slices, scores) = (slices.view(), scores.view());
            CPU.slice_combine(SliceCombine { z_2d_slices, scores, out: combined.view_mut() }).expect("valid");
        });
    });
    group.finish();
}

criterion_group!(ops, linear, attention, memory_bound);
criterion_main!(ops);
