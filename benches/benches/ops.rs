//! Every op of the CPU device at the released model's sizes, each call from a cold cache, so that criterion can compare
//! two commits. `cargo run --release -p benches --bin ops` times any device, with p99 and shares of its limits.
#![expect(missing_docs, reason = "criterion's macros make functions without documentation")]
use benches::cold::Cold;
use benches::ops::entries;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use med2e3_kernels::{Cpu, Precision};

const CPU: Cpu = Cpu { precision: Precision::Exact };

fn all(c: &mut Criterion) {
    let mut cold = Cold::new(&CPU, None);
    for entry in entries() {
        let mut group = c.benchmark_group(entry.op);
        group.sample_size(10);
        let mut call = entry.prepare(&CPU);
        group.throughput(match call.flops {
            0 => Throughput::Bytes(call.bytes as u64),
            flops => Throughput::Elements(flops as u64),
        });
        group.bench_function(BenchmarkId::from_parameter(entry.size), |bench| {
            bench.iter_custom(|calls| (0..calls).map(|_| cold.once(&mut call).expect("valid")).sum());
        });
        group.finish();
    }
}

criterion_group!(ops, all);
criterion_main!(ops);
