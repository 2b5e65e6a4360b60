//! Every op at the released model's sizes: what is called, and what it costs at least.
use med2e3_kernels::{Device, Result, Tensor};

mod attention;
mod language;
mod products;
mod slices;
mod vision;

/// One call of an op on a device, ready to run.
pub struct Call<'a> {
    /// Floating-point operations of products and attention; 0 where memory alone counts.
    pub flops: usize,
    /// Bytes that must be read and written, each once.
    pub bytes: usize,
    /// Enqueues it.
    pub run: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// An op at one size.
pub struct Entry {
    /// Its folder.
    pub op: &'static str,
    /// The size, by where the model has it.
    pub size: &'static str,
    prepare: Prepare,
}

type Prepare = Box<dyn Fn(&dyn Device) -> Call<'_>>;

impl Entry {
    fn new(op: &'static str, size: &'static str, prepare: impl Fn(&dyn Device) -> Call<'_> + 'static) -> Self {
        Self { op, size, prepare: Box::new(prepare) }
    }

    /// Makes its tensors on a device.
    ///
    /// # Panics
    /// If there is not enough memory.
    pub fn prepare<'a>(&self, device: &'a dyn Device) -> Call<'a> {
        (self.prepare)(device)
    }
}

/// All of them, by op.
pub fn entries() -> Vec<Entry> {
    let parts = [vision::entries(), products::entries(), attention::entries(), slices::entries(), language::entries()];
    let mut all: Vec<Entry> = parts.into_iter().flatten().collect();
    all.sort_by_key(|entry| entry.op);
    all
}

/// Bytes of whole tensors.
fn bytes(tensors: &[&Tensor]) -> usize {
    tensors.iter().map(|tensor| tensor.bytes()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use med2e3_kernels::Plan;

    /// A new op must be timed, too; every call keeps its op's contract.
    #[test]
    fn every_op_is_timed_at_a_valid_size() {
        let listed = include_str!("../../../kernels/src/ops.rs");
        let ops: Vec<&str> =
            listed.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
        assert!(ops.len() >= 22, "found {ops:?}");
        let entries = entries();
        for op in &ops {
            assert!(entries.iter().any(|entry| entry.op == *op), "{op} is not timed");
        }
        for entry in &entries {
            let name = format!("{} {}", entry.op, entry.size);
            assert!(ops.contains(&entry.op), "{name} is no op");
            let plan = Plan::gpu();
            let mut call = entry.prepare(&plan);
            assert!(call.bytes > 0, "{name} moves nothing");
            (call.run)().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
