//! What every kernel moves, counted by the emulator at sizes like the model's, against the least that it could move and
//! against the committed table `kernels/traffic.tsv`. `tools/kernel-traffic --update` writes the table anew.
use crate::testing_gpu::Rig;
use crate::{Emulation, Gpu, Tensor};
use std::cell::Cell;
use std::fmt::Write as _;
use std::path::Path;

mod cases;

/// An op at one size.
struct Case {
    op: &'static str,
    size: &'static str,
    run: fn(&Bench<'_>),
    /// What it moves beyond the least, and why that is right.
    excuse: Option<Excuse>,
}

/// Limits in the place of the usual ones.
#[derive(Clone, Copy)]
struct Excuse {
    why: &'static str,
    /// Bytes read and written, of the least.
    memory: f64,
    /// Bytes of sectors, of those asked for.
    sectors: f64,
    /// Turns at shared memory, of the least.
    turns: f64,
}

/// The usual: a twentieth more.
const NO_EXCUSE: Excuse = Excuse { why: "", memory: 1.05, sectors: 1.05, turns: 1.05 };

impl Case {
    const fn new(op: &'static str, size: &'static str, run: fn(&Bench<'_>)) -> Self {
        Self { op, size, run, excuse: None }
    }

    const fn but(self, excuse: Excuse) -> Self {
        Self { excuse: Some(excuse), ..self }
    }
}

/// Makes tensors and counts the bytes that an op cannot do without.
struct Bench<'a> {
    gpu: &'a Gpu,
    rig: Rig<'a>,
    least: Cell<usize>,
}

impl Bench<'_> {
    /// Bytes that the op must read or write.
    fn must_move(&self, bytes: usize) {
        self.least.set(self.least.get() + bytes);
    }

    fn counted(&self, tensor: Tensor) -> Tensor {
        self.must_move(tensor.bytes());
        tensor
    }

    /// Activations or weights that are read or written once.
    fn acts(&self, dims: &[usize]) -> Tensor {
        self.counted(self.free(dims))
    }

    /// As [`Bench::acts`], f32.
    fn floats(&self, dims: &[usize]) -> Tensor {
        self.counted(self.rig.floats(dims, &crate::testing::numbers(2, dims.iter().product(), 1.0)))
    }

    /// As [`Bench::acts`], u32.
    fn ids(&self, ids: &[u32]) -> Tensor {
        self.counted(self.rig.ids(ids))
    }

    /// As [`Bench::acts`], but nobody must move it.
    fn free(&self, dims: &[usize]) -> Tensor {
        self.rig.acts(dims, &crate::testing::numbers(1, dims.iter().product(), 1.0))
    }
}

/// Bytes or turns that no limit minds.
const SLACK: f64 = 2048.0;

const HEAD: &str = "op\tsize\tkernel\tlaunches\tread\twritten\tasked\tmoved\tturns\tturns_least\n";

/// The rows of a case; complains of what it moves beyond its limits.
fn rows(case: &Case, complaints: &mut Vec<String>) -> String {
    let gpu = Gpu::emulated(Emulation { seed: 0, checked: true });
    let bench = Bench { gpu: &gpu, rig: Rig { device: &gpu }, least: Cell::new(0) };
    let ((), traffic) = med2e3_simt::metered(|| (case.run)(&bench));
    let limits = case.excuse.unwrap_or(NO_EXCUSE);
    let what = format!("{} {}", case.op, case.size);
    // Sectors are whole, which tells where tensors are small.
    let mut complain = |of: &str, got: u64, least: u64, limit: f64| {
        if got as f64 > limit * least as f64 + SLACK {
            let ratio = got as f64 / least as f64;
            complaints.push(format!("{what}: {of}: {got}, {ratio:.3} times {least}, allowed {limit} {}", limits.why));
        }
    };
    let mut text = String::new();
    let mut memory = 0;
    for (kernel, t) in &traffic {
        memory += t.read + t.written;
        complain(&format!("{kernel}, bytes of sectors"), t.moved, t.asked, limits.sectors);
        complain(&format!("{kernel}, turns at shared memory"), t.turns, t.turns_least, limits.turns);
        let counts = [t.launches, t.read, t.written, t.asked, t.moved, t.turns, t.turns_least];
        let counts = counts.map(|count| count.to_string()).join("\t");
        let _ = writeln!(text, "{}\t{}\t{kernel}\t{counts}", case.op, case.size);
    }
    assert!(!traffic.is_empty(), "{what}: launches nothing");
    complain("bytes of memory", memory, bench.least.get() as u64, limits.memory);
    text
}

#[test]
fn kernels_move_what_they_must() {
    let mut complaints = Vec::new();
    let body: String = cases::CASES.iter().map(|case| rows(case, &mut complaints)).collect();
    let table = format!("{HEAD}{body}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("traffic.tsv");
    if std::env::var_os("MED2E3_UPDATE_TRAFFIC").is_some() {
        std::fs::write(&path, &table).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<&str> = table.lines().filter(|line| !committed.lines().any(|old| old == *line)).collect();
    complaints.extend(changed.iter().map(|line| format!("not in traffic.tsv: {line}")));
    if changed.is_empty() && committed != table {
        complaints.push("traffic.tsv has rows that no case gives".into());
    }
    let again = "mend the kernel, or run tools/kernel-traffic --update and say why in the commit";
    assert!(complaints.is_empty(), "{}\n{again}", complaints.join("\n"));
}

/// Every op with a kernel has a case.
#[test]
fn every_op_is_counted() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops")).expect("the ops");
    let ops = folders.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.join("launch.rs").exists());
    for op in ops {
        let name = op.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        assert!(cases::CASES.iter().any(|case| case.op == name), "{name} has no case in traffic/cases.rs");
    }
}
