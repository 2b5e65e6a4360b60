//! The same op call on the CPU and on GPUs: emulated under many schedules, or the real one.
use crate::{DType, Device, Emulation, Gpu, HostTensor, Tensor};
use half::bf16;
use std::sync::{Arc, OnceLock};

/// Seeds of the plain emulation: in order, then other schedules, odd ones from the last block to the first.
const SEEDS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// One device and what a test makes on it. Activations and weights are rounded to bf16 on every device, so that all
/// compute from the same numbers.
pub struct Rig<'a> {
    pub device: &'a dyn Device,
}

impl Rig<'_> {
    /// Activations that hold `values`, rounded to bf16.
    pub fn acts(&self, dims: &[usize], values: &[f32]) -> Tensor {
        let mut tensor = self.device.activations(dims).expect("test memory");
        match tensor.dtype() {
            DType::Bf16 => self.device.write(&mut tensor, &halves(values)),
            _ => self.device.write(&mut tensor, &rounded(values)),
        }
        .expect("sizes agree");
        tensor
    }

    /// A bf16 weight.
    pub fn weight(&self, dims: &[usize], values: &[f32]) -> Tensor {
        let bytes: Vec<u8> = bytemuck::cast_slice(&halves(values)).to_vec();
        let range = 0..bytes.len();
        let tensor = HostTensor { owner: Arc::new(bytes), range, dims: crate::Dims::new(dims), dtype: DType::Bf16 };
        self.device.weight(tensor).expect("a whole tensor")
    }

    /// An f32 tensor.
    pub fn floats(&self, dims: &[usize], values: &[f32]) -> Tensor {
        let mut tensor = self.device.tensor(dims, DType::F32).expect("test memory");
        self.device.write(&mut tensor, values).expect("sizes agree");
        tensor
    }

    /// A u32 tensor.
    pub fn ids(&self, values: &[u32]) -> Tensor {
        let mut tensor = self.device.tensor(&[values.len()], DType::U32).expect("test memory");
        self.device.write(&mut tensor, values).expect("sizes agree");
        tensor
    }

    /// Activations full of NaN, so that an element that is never written shows.
    pub fn poisoned(&self, dims: &[usize]) -> Tensor {
        self.acts(dims, &vec![f32::NAN; dims.iter().product()])
    }

    /// As `poisoned`, in f32.
    pub fn poisoned_floats(&self, dims: &[usize]) -> Tensor {
        self.floats(dims, &vec![f32::NAN; dims.iter().product()])
    }

    /// The tensor's values.
    pub fn read(&self, tensor: &Tensor) -> Vec<f32> {
        self.device.read(tensor.view()).expect("readable")
    }
}

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f32(v)).collect()
}

/// `values` as bf16 holds them.
pub fn rounded(values: &[f32]) -> Vec<f32> {
    halves(values).into_iter().map(bf16::to_f32).collect()
}

/// The GPU that the tests were given, one for all of them; `None` for the emulator.
fn given() -> Option<&'static Gpu> {
    static GIVEN: OnceLock<Option<Gpu>> = OnceLock::new();
    GIVEN.get_or_init(|| Gpu::for_tests().expect("the device that the tests were given")).as_ref()
}

/// Runs `test` on the GPU that the tests were given, or else on every emulation that tests use.
pub fn each_gpu(test: impl Fn(&Gpu)) {
    if let Some(gpu) = given() {
        return test(gpu);
    }
    for seed in SEEDS {
        test(&Gpu::emulated(Emulation { seed, checked: false }));
    }
    test(&Gpu::emulated(Emulation { seed: 8, checked: true }));
}

/// What `case` gives on the GPU and what on the CPU.
///
/// Emulated under every seed, plain, and once with memory checks; all runs must agree to the bit, since no order of
/// threads may change a result. A GPU that the tests were given runs it twice instead.
pub fn on_gpu_and_cpu(case: impl Fn(&Rig<'_>) -> Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let want = case(&Rig { device: &super::testing::CPU });
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    if let Some(gpu) = given() {
        let got = case(&Rig { device: gpu });
        assert_eq!(bits(&case(&Rig { device: gpu })), bits(&got), "a second run against the first");
        return (got, want);
    }
    let run = |emulation| case(&Rig { device: &Gpu::emulated(emulation) });
    let got = run(Emulation::default());
    for &seed in &SEEDS[1..] {
        assert_eq!(bits(&run(Emulation { seed, checked: false })), bits(&got), "seed {seed} against seed 0");
    }
    let checked = run(Emulation { seed: 8, checked: true });
    assert_eq!(bits(&checked), bits(&got), "with memory checks against without");
    (got, want)
}

/// Runs `test` on the GPU that the tests were given, or else on one emulation.
pub fn one_gpu<T>(emulation: Emulation, test: impl FnOnce(&Gpu) -> T) -> T {
    match given() {
        Some(gpu) => test(gpu),
        None => test(&Gpu::emulated(emulation)),
    }
}

/// As [`on_gpu_and_cpu`], under one schedule: for sizes that take long to emulate.
pub fn once_on_gpu_and_cpu(case: impl Fn(&Rig<'_>) -> Vec<f32>) -> (Vec<f32>, Vec<f32>) {
    let run = |device: &dyn Device| case(&Rig { device });
    (one_gpu(Emulation::default(), |gpu| run(gpu)), run(&super::testing::CPU))
}

/// Fails unless every element is `want` within half a unit of bf16 and `slack`, the f32 error before the rounding, and
/// at least 99 % are `want` rounded to bf16 exactly.
pub fn assert_rounds_to(what: &str, got: &[f32], want: &[f32], slack: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let mut exact = 0;
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - f64::from(want)).abs();
        let bound = f64::from(want).abs() / 256.0 + slack(i);
        assert!(error <= bound, "{what}: element {i} is {got}, wanted {want} within {bound:e}");
        exact += usize::from(got == bf16::from_f32(want).to_f32());
    }
    assert!(exact * 100 >= got.len() * 99, "{what}: only {exact} of {} elements are rounded exactly", got.len());
}
