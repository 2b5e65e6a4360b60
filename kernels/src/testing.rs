//! What op tests share: seeded numbers, poisoned outputs and comparison.
use crate::ops::sample::philox::philox;
use crate::{Cpu, Device, Precision, Tensor};

/// The device under test.
pub const CPU: Cpu = Cpu { precision: Precision::Exact };

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
    let mut tensor = device.tensor(&[values.len()], crate::DType::U32).expect("test memory");
    device.write(&mut tensor, values).expect("sizes agree");
    tensor
}

/// An output full of NaN, so that an element that is never written shows.
pub fn poisoned(dims: &[usize]) -> Tensor {
    tensor(dims, &vec![f32::NAN; dims.iter().product()])
}

/// The tensor's values.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    (&CPU as &dyn Device).read(tensor.view()).expect("readable")
}

/// Fails at the first element whose error exceeds `relative` times the largest magnitude of `want`.
pub fn assert_close(what: &str, got: &[f32], want: &[f64], relative: f64) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let scale = want.iter().fold(0f64, |most, v| most.max(v.abs())).max(f64::MIN_POSITIVE);
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= relative * scale, "{what}: element {i} is {got}, wanted {want}, scale {scale}");
    }
}
