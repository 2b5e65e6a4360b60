//! How much other work may run between two steps of running answers.
use med2e3_kernels::{DType, Device};

/// Operations that a device does in the time in which it reads a byte of weights. A GPU: the A800's 312 TFLOP/s at 60 %
/// over its 2 TB/s at 80 %. The processor: 576 rows of Phi-3 in 12 s exactly and in 2.5 s with AMX, against a step of
/// 0.1 s that reads 7.6 GB (README), which is 5 and 23.
const GPU_FLOPS_PER_BYTE: f64 = 117.0;
const CPU_FLOPS_PER_BYTE: f64 = 8.0;

/// The length of a unit, in operations.
pub(crate) struct Units {
    flops: f64,
}

impl Units {
    /// As long as `steps` steps of one row that read `step_bytes` of weights.
    pub fn new(device: &dyn Device, step_bytes: usize, steps: u32) -> Self {
        let per_byte = if device.activation() == DType::F32 { CPU_FLOPS_PER_BYTE } else { GPU_FLOPS_PER_BYTE };
        Self { flops: step_bytes as f64 * per_byte * f64::from(steps) }
    }

    /// Whether a layer of so many operations is no longer than a unit.
    pub fn take(&self, layer_flops: usize) -> bool {
        layer_flops as f64 <= self.flops
    }

    /// How many layers of so many operations one unit takes. A layer is never cut.
    pub fn layers(&self, layer_flops: usize) -> usize {
        ((self.flops / layer_flops.max(1) as f64) as usize).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use med2e3_kernels::{Cpu, Precision};

    #[test]
    fn a_unit_is_at_least_a_layer_and_no_longer_than_its_steps() {
        let cpu = Cpu { precision: Precision::Exact };
        // Phi-3: 7.6 GB; a layer over 576 rows is 0.13 TFLOP.
        let step_bytes = 7_600_000_000;
        let layer = 2 * 576 * 113_000_000;
        assert_eq!(Units::new(&cpu, step_bytes, 4).layers(layer), 1);
        assert_eq!(Units::new(&cpu, step_bytes, 4).layers(layer / 18), 33);
        assert_eq!(Units::new(&cpu, step_bytes, 0).layers(1), 1);
        assert!(Units::new(&cpu, step_bytes, 4).take(layer) && !Units::new(&cpu, step_bytes, 4).take(2 * layer));
        assert!(Units::new(&cpu, step_bytes, 4).layers(0) > 1_000_000);
    }
}
