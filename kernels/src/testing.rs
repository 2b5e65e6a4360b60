//! What op tests share: seeded numbers, poisoned outputs and comparison.
use crate::ops::sample::philox::philox;
use crate::{Cpu, DType, Device, HostTensor, Precision, Result, Tensor};
use half::{bf16, f16};
use std::sync::Arc;

/// The device under test.
pub const CPU: Cpu = Cpu { precision: Precision::Exact };

/// The types that weights come in.
pub const WEIGHT_TYPES: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

/// `count` numbers, uniform in [-scale, scale), a pure function of the seed.
pub fn numbers(seed: u32, count: usize, scale: f32) -> Vec<f32> {
    let number = |i: usize| philox([i as u32, 0, 0, 0], [seed, 0x7e57])[0] as f32 / 2f32.powi(31) - 1.0;
    (0..count).map(|i| number(i) * scale).collect()
}

/// A tensor of the device's activation type that holds `values`.
pub fn tensor(dims: &[usize], values: &[f32]) -> Tensor {
    let device: &dyn Device = &CPU;
    let mut tensor = device.activations(dims).expect("test memory");
    device.write(&mut tensor, values).expect("sizes agree");
    tensor
}

/// A `u32` tensor.
pub fn tensor_u32(values: &[u32]) -> Tensor {
    let device: &dyn Device = &CPU;
    let mut tensor = device.tensor(&[values.len()], DType::U32).expect("test memory");
    device.write(&mut tensor, values).expect("sizes agree");
    tensor
}

/// A weight in the checkpoint's type, and the values that it has after rounding to that type.
pub fn weight(dims: &[usize], dtype: DType, values: &[f32]) -> (Tensor, Vec<f32>) {
    let (bytes, rounded): (Vec<u8>, Vec<f32>) = match dtype {
        DType::F16 => {
            let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
            (bytemuck::cast_slice(&halves).to_vec(), halves.iter().map(|v| v.to_f32()).collect())
        }
        DType::Bf16 => {
            let halves: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
            (bytemuck::cast_slice(&halves).to_vec(), halves.iter().map(|v| v.to_f32()).collect())
        }
        _ => (bytemuck::cast_slice(values).to_vec(), values.to_vec()),
    };
    let range = 0..bytes.len();
    let tensor = HostTensor { owner: Arc::new(bytes), range, dims: crate::Dims::new(dims), dtype };
    (CPU.weight(tensor).expect("a whole tensor"), rounded)
}

/// An output full of NaN, so that an element that is never written shows.
pub fn poisoned(dims: &[usize]) -> Tensor {
    tensor(dims, &vec![f32::NAN; dims.iter().product()])
}

/// The tensor's values.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    (&CPU as &dyn Device).read(tensor.view()).expect("readable")
}

/// Fails unless the result is an error of exactly this text.
pub fn assert_refused(result: Result<()>, text: &str) {
    assert_eq!(result.expect_err(text).to_string(), text);
}

/// Fails at the first element whose error exceeds `relative` times the largest magnitude of `want`.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], relative: f64) {
    let scale = want.iter().fold(0f64, |most, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
    assert_within(what, got, want, |_| relative * scale);
}

/// Fails at the first element whose error exceeds its bound.
pub fn assert_within(what: &str, got: &[f32], want: &[f64], bound: impl Fn(usize) -> f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        let bound = bound(i);
        assert!(error <= bound, "{what}: element {i} is {got}, wanted {want} within {bound:e}");
    }
}
