//! Random tensors: zeros would let the processor cheat.
use half::bf16;
use med2e3_kernels::ops::AttentionPaged;
use med2e3_kernels::{DType, Device, PAGE_TOKENS, Result, Tensor};

/// After so many numbers, the same ones come again: a prime, so that no two rows of a tensor are alike.
const PERIOD: usize = 1_000_003;

/// Numbers in [-1, 1), each turned into an element: a multiplicative sequence, quick enough for gigabytes.
fn numbers<T: Clone>(count: usize, element: impl Fn(f32) -> T) -> Vec<T> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        element((state >> 40) as f32 / 8_388_608.0 - 1.0)
    };
    let period: Vec<T> = (0..count.min(PERIOD)).map(|_| next()).collect();
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let more = period.len().min(count - all.len());
        all.extend_from_slice(&period[..more]);
    }
    all
}

/// Activations.
///
/// # Panics
/// If there is not enough memory.
pub fn activations(device: &dyn Device, dims: &[usize]) -> Tensor {
    let mut tensor = device.activations(dims).expect("memory for activations");
    let count = tensor.dims().count();
    let written = match tensor.dtype() {
        DType::Bf16 => device.write(&mut tensor, &numbers(count, bf16::from_f32)),
        _ => device.write(&mut tensor, &numbers(count, |value| value)),
    };
    written.expect("sizes agree");
    tensor
}

/// f32 values, as tables of angles and logits are.
///
/// # Panics
/// If there is not enough memory.
pub fn floats(device: &dyn Device, dims: &[usize]) -> Tensor {
    let mut tensor = device.tensor(dims, DType::F32).expect("memory for floats");
    let count = tensor.dims().count();
    device.write(&mut tensor, &numbers(count, |value| value)).expect("sizes agree");
    tensor
}

/// bf16 weights, of a size that keeps products near 1.
///
/// # Panics
/// If there is not enough memory.
pub fn weights(device: &dyn Device, dims: &[usize]) -> Tensor {
    let mut tensor = device.tensor(dims, DType::Bf16).expect("memory for weights");
    let scale = 1.0 / (*dims.last().expect("dims") as f32).sqrt();
    let count = tensor.dims().count();
    device.write(&mut tensor, &numbers(count, |value| bf16::from_f32(value * scale))).expect("sizes agree");
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

/// Phi-3's heads in the released model.
const HEADS: usize = 32;
/// Columns of a head.
const HEAD_DIM: usize = 96;

/// One call of paged attention at the released model's sizes, over pages in reverse order.
pub struct PagedAttention {
    q: Tensor,
    k_pages: Tensor,
    v_pages: Tensor,
    block_table: Tensor,
    positions: Tensor,
    out: Tensor,
    /// Floating-point operations of a call: two products per key that a query sees.
    pub flops: usize,
    /// Bytes of queries, outputs and all keys and values, each once.
    pub bytes: usize,
}

impl PagedAttention {
    /// `rows` new tokens of a sequence that then has `context`.
    ///
    /// # Panics
    /// If there is not enough memory.
    pub fn new(device: &dyn Device, rows: usize, context: usize) -> Self {
        let pages = context.div_ceil(PAGE_TOKENS);
        let [k_pages, v_pages] = [0; 2].map(|_| activations(device, &[pages * HEADS, PAGE_TOKENS, HEAD_DIM]));
        let [q, out] = [0; 2].map(|_| activations(device, &[rows, HEADS * HEAD_DIM]));
        let seen: usize = (context - rows + 1..=context).sum();
        let bytes = q.bytes() + out.bytes() + (k_pages.bytes() + v_pages.bytes()) / (pages * PAGE_TOKENS) * context;
        Self {
            q,
            k_pages,
            v_pages,
            block_table: ids(device, &(0..pages as u32).rev().collect::<Vec<u32>>()),
            positions: ids(device, &((context - rows) as u32..context as u32).collect::<Vec<u32>>()),
            out,
            flops: 4 * seen * HEADS * HEAD_DIM,
            bytes,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn run(&mut self, device: &dyn Device) -> Result<()> {
        device.attention_paged(AttentionPaged {
            q: self.q.view(),
            k_pages: self.k_pages.view(),
            v_pages: self.v_pages.view(),
            block_table: self.block_table.view(),
            runs: &[],
            positions: self.positions.view(),
            heads: HEADS,
            kv_heads: HEADS,
            scale: 1.0 / (HEAD_DIM as f32).sqrt(),
            out: self.out.view_mut(),
        })
    }
}
