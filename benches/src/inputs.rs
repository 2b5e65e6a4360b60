//! Random tensors: zeros would let the processor cheat.
use half::bf16;
use kernels::{DType, Device, Tensor};

/// Numbers in [-1, 1): a multiplicative sequence, quick enough for gigabytes.
fn numbers(count: usize) -> impl Iterator<Item = f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    })
}

/// Activations.
///
/// # Panics
/// If there is not enough memory.
pub fn activations(device: &dyn Device, dims: &[usize]) -> Tensor {
    let mut tensor = device.activations(dims).expect("memory for activations");
    let values: Vec<f32> = numbers(tensor.dims().count()).collect();
    device.write(&mut tensor, &values).expect("a device whose activations are f32");
    tensor
}

/// bf16 weights, of a size that keeps products near 1.
///
/// # Panics
/// If there is not enough memory.
pub fn weights(device: &dyn Device, dims: &[usize]) -> Tensor {
    let mut tensor = device.tensor(dims, DType::Bf16).expect("memory for weights");
    let scale = 1.0 / (*dims.last().expect("dims") as f32).sqrt();
    let values: Vec<bf16> = numbers(tensor.dims().count()).map(|v| bf16::from_f32(v * scale)).collect();
    device.write(&mut tensor, &values).expect("sizes agree");
    tensor
}

/// Ids.
///
/// # Panics
/// If there is not enough memory.
pub fn ids(device: &dyn Device, values: &[u32]) -> Tensor {
    let mut tensor = device.tensor(&[values.len()], DType::U32).expect("memory for ids");
    device.write(&mut tensor, values).expect("sizes agree");
    tensor
}
