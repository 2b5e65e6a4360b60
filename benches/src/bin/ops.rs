//! Times every op, alone and from a cold cache, at the released model's sizes.
//!
//! Usage: `ops [exact|fast|cuda|cuda:N|emulated] [quick] [OP]...`. One JSON object per line: the machine, every op and
//! size, the machine again. An op's line holds microseconds (p50 and p99 of at most 200 calls in two seconds), the
//! bytes that it must move and the operations that it must do, and the shares of what limits them: `of_memory`, of the
//! bandwidth that a large copy reached at the start; `of_peak`, of what the tensor cores could do at the highest clock,
//! where that is known. `quick` times three calls without flushing caches: to see that everything runs.
use benches::cold::Cold;
use benches::machine::Machine;
use benches::ops::entries;
use med2e3_kernels::Result;
use serde_json::{Value, json};
use std::time::Duration;

/// Calls of one op.
const CALLS: usize = 200;
const SECONDS: Duration = Duration::from_secs(2);

fn run(mut words: Vec<String>) -> Result<()> {
    let machine = Machine::of(&mut words)?;
    let quick = words.iter().position(|word| word == "quick").map(|at| words.remove(at)).is_some();
    let device = machine.open()?;
    let device = &*device;
    let mut cold = Cold::new(device, quick.then_some(1 << 16));
    let memory = cold.bandwidth()?;
    let peak = machine.gpu().and_then(|gpu| gpu.peak_flops());
    let mut facts = machine.describe(device);
    facts["memory_gb_per_s"] = rounded(memory / 1e9);
    facts["peak_tflops"] = peak.map_or(Value::Null, |peak| rounded(peak / 1e12));
    println!("{facts}");
    let wanted = |op: &str| words.is_empty() || words.iter().any(|word| word == op);
    for entry in entries().iter().filter(|entry| wanted(entry.op)) {
        let mut call = entry.prepare(device);
        let limit = if quick { Duration::ZERO } else { SECONDS };
        let times = cold.times(&mut call, CALLS, limit)?;
        let p50 = times.quantile(0.5);
        let p99 = times.quantile(0.99);
        let bytes = call.bytes as f64 / p50;
        let flops = call.flops as f64 / p50;
        let products = call.flops > 0;
        println!(
            "{}",
            json!({
                "op": entry.op,
                "size": entry.size,
                "calls": times.count(),
                "us_p50": rounded(p50 * 1e6),
                "us_p99": rounded(p99 * 1e6),
                "bytes": call.bytes,
                "flops": call.flops,
                "gb_per_s": rounded(bytes / 1e9),
                "tflops": if products { rounded(flops / 1e12) } else { Value::Null },
                "of_memory": rounded(bytes / memory),
                "of_peak": peak.filter(|_| products).map_or(Value::Null, |peak| rounded(flops / peak)),
            })
        );
    }
    println!("{}", machine.describe(device));
    Ok(())
}

/// Three decimals.
fn rounded(value: f64) -> Value {
    json!((value * 1e3).round() / 1e3)
}

fn main() {
    if let Err(error) = run(std::env::args().skip(1).collect()) {
        eprintln!("error: {error}");
        std::process::exit(if matches!(error, med2e3_kernels::Error::Unavailable { .. }) { 4 } else { 1 });
    }
}
