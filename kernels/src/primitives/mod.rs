//! Every function of `ptx.cuh`, and the reductions of a block, against plain Rust, on the emulator and on whatever GPU
//! the tests are given.
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::testing::numbers;
use crate::testing_gpu::each_gpu;
use crate::{DType, Device, Result};
use half::bf16;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PrimitiveParams {
    input: Ptr,
    output: Ptr,
    count: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<PrimitiveParams>() == 24 && std::mem::offset_of!(PrimitiveParams, reserved) == 20);

/// Runs one block over `input` and gives `words` words of output.
fn run(gpu: &Gpu, kernel: &Kernel, input: &[u32], words: usize) -> Vec<u32> {
    try_run(gpu, kernel, input, words).expect("runs")
}

/// As `run`, for a kernel that may be broken.
fn try_run(gpu: &Gpu, kernel: &Kernel, input: &[u32], words: usize) -> Result<Vec<u32>> {
    let device: &dyn Device = gpu;
    let mut from = device.tensor(&[input.len()], DType::U32).expect("test memory");
    device.write(&mut from, input).expect("sizes agree");
    let mut to = device.tensor(&[words], DType::U32).expect("test memory");
    device.write(&mut to, &vec![0xdead_beef; words]).expect("sizes agree");
    let args = gpu.args("primitive").expect("usable");
    let params = PrimitiveParams {
        input: args.typed("input", &from.view(), DType::U32).expect("ours"),
        output: args.out_typed("output", &mut to.view_mut(), DType::U32).expect("ours"),
        count: words as u32,
        reserved: 0,
    };
    // SAFETY: each caller gives as many words as its kernel reads and writes.
    unsafe { gpu.launch(kernel, [1, 1, 1], 0, &params)? };
    device.read_u32(to.view())
}

/// Words that are all different.
fn words(count: usize) -> Vec<u32> {
    (0..count as u32).map(|i| i.wrapping_mul(0x9E37_79B9) ^ 0x5bd1_e995).collect()
}

#[test]
fn copies_land_in_their_groups_and_fill_with_zeros() {
    const KERNEL: Kernel = kernel!(primitive_copy_async_kernel, 32);
    let input = words(256);
    let mut bytes: Vec<u8> = bytemuck::cast_slice(&input).to_vec();
    for (copy, bytes) in bytes.chunks_exact_mut(16).enumerate() {
        bytes[16 - copy % 32 % 17..].fill(0);
    }
    let copies: Vec<&[u8]> = bytes.chunks_exact(16).collect();
    let want: Vec<u8> = (0..64).flat_map(|i| copies[i / 32 * 32 + 31 - i % 32]).copied().collect();
    each_gpu(|gpu| assert_eq!(bytemuck::cast_slice::<u32, u8>(&run(gpu, &KERNEL, &input, 256)), want));
}

/// Lane l gets row l / 4, columns 2·(l % 4) and the next of each matrix; transposed, those of its transpose.
#[test]
fn matrices_are_dealt_to_lanes() {
    const KERNEL: Kernel = kernel!(primitive_load_matrix_kernel, 32);
    let input = words(128);
    let halves: &[u16] = bytemuck::cast_slice(&input);
    let element = |matrix: usize, row: usize, column: usize| u32::from(halves[matrix * 64 + row * 8 + column]);
    let mut want = Vec::new();
    for lane in 0..32 {
        let row = lane / 4;
        let column = lane % 4 * 2;
        want.extend((0..4).map(|m| element(m, row, column) | element(m, row, column + 1) << 16));
        want.extend((0..4).map(|m| element(m, column, row) | element(m, column + 1, row) << 16));
    }
    each_gpu(|gpu| assert_eq!(run(gpu, &KERNEL, &input, 256), want));
}

/// Small whole numbers, so that every order of summation gives the same bits.
#[test]
fn products_follow_the_fragment_layout() {
    const KERNEL: Kernel = kernel!(primitive_mma_bf16_kernel, 32);
    let whole = |seed, count| numbers(seed, count, 8.0).into_iter().map(f32::round).collect::<Vec<f32>>();
    let a = whole(1, 16 * 16);
    let b = whole(2, 16 * 8);
    let d = whole(3, 16 * 8);
    let pair = |low: f32, high: f32| {
        u32::from(bf16::from_f32(low).to_bits()) | u32::from(bf16::from_f32(high).to_bits()) << 16
    };
    let mut input = Vec::new();
    for lane in 0..32 {
        let group = lane / 4;
        let pairs = lane % 4 * 2;
        let a_pair = |row: usize, column: usize| pair(a[row * 16 + column], a[row * 16 + column + 1]);
        let b_pair = |row: usize| pair(b[row * 8 + group], b[(row + 1) * 8 + group]);
        input.extend([a_pair(group, pairs), a_pair(group + 8, pairs)]);
        input.extend([a_pair(group, pairs + 8), a_pair(group + 8, pairs + 8)]);
        input.extend([b_pair(pairs), b_pair(pairs + 8)]);
        for at in [group * 8 + pairs, group * 8 + pairs + 1, (group + 8) * 8 + pairs, (group + 8) * 8 + pairs + 1] {
            input.push(d[at].to_bits());
        }
    }
    let product = |row: usize, column: usize| {
        d[row * 8 + column] + (0..16).map(|k| a[row * 16 + k] * b[k * 8 + column]).sum::<f32>()
    };
    let mut want = Vec::new();
    for lane in 0..32 {
        let row = lane / 4;
        let column = lane % 4 * 2;
        let at = [(row, column), (row, column + 1), (row + 8, column), (row + 8, column + 1)];
        want.extend(at.map(|(row, column)| product(row, column).to_bits()));
    }
    each_gpu(|gpu| assert_eq!(run(gpu, &KERNEL, &input, 128), want));
}

/// 2 ulps where the result is a normal number, 0 or a subnormal below, and the limits.
#[test]
fn powers_of_two_are_near() {
    const KERNEL: Kernel = kernel!(primitive_exp2_kernel, 32);
    let mut inputs =
        vec![0.0, -0.0, 1.0, -1.0, 127.0, -126.0, -149.0, -1000.0, 128.0, f32::INFINITY, f32::NEG_INFINITY];
    inputs.extend(numbers(9, 4000, 125.0));
    inputs.extend(numbers(10, 1000, 1.0));
    let bits: Vec<u32> = inputs.iter().map(|x| x.to_bits()).collect();
    each_gpu(|gpu| {
        for (&x, got) in inputs.iter().zip(run(gpu, &KERNEL, &bits, bits.len())) {
            let got = f64::from(f32::from_bits(got));
            let want = f64::from(x).exp2();
            let near = match want {
                want if want >= f64::from(f32::MAX) => got == f64::INFINITY,
                want if want < f64::from(f32::MIN_POSITIVE) => got >= 0.0 && got <= f64::from(f32::MIN_POSITIVE),
                want => (got - want).abs() <= want * 2f64.powi(-22),
            };
            assert!(near, "2^{x} is {got}, wanted {want}");
        }
    });
}

#[test]
fn streamed_loads_give_the_bytes() {
    const KERNEL: Kernel = kernel!(primitive_load_streamed_kernel, 32);
    let input = words(128);
    let want: Vec<u32> = input.chunks_exact(4).rev().flatten().copied().collect();
    each_gpu(|gpu| assert_eq!(run(gpu, &KERNEL, &input, 128), want));
}

const REDUCE: Kernel = kernel!(primitive_reduce_kernel, 64);

/// 64 small whole numbers, whose sums are exact in any order.
fn whole_numbers() -> Vec<u32> {
    numbers(4, 64, 9.0).iter().map(|value| value.round().to_bits()).collect()
}

/// What the kernel of reductions gives, for the test of tests.
pub(crate) fn reduced(gpu: &Gpu) -> Result<Vec<f32>> {
    Ok(try_run(gpu, &REDUCE, &whole_numbers(), 256)?.into_iter().map(f32::from_bits).collect())
}

#[test]
fn blocks_reduce() {
    let values: Vec<f32> = whole_numbers().into_iter().map(f32::from_bits).collect();
    let most = |values: &mut dyn Iterator<Item = f32>| values.fold(f32::NEG_INFINITY, f32::max);
    let squares = values.iter().map(|v| v * v).sum();
    let highest = [most(&mut values.iter().copied()), most(&mut values.iter().map(|v| -v))];
    let want = [values.iter().sum(), squares, highest[0], highest[1]].repeat(64);
    each_gpu(|gpu| assert_eq!(reduced(gpu).expect("runs"), want));
}

/// A primitive that no kernel here calls has never been compared with its twin.
#[test]
fn every_primitive_is_called() {
    let header = include_str!("../../include/ptx.cuh");
    let source = include_str!("kernel.cu");
    let names: Vec<&str> = header
        .lines()
        .filter(|line| line.starts_with("__device__"))
        .filter_map(|line| line.split('(').next()?.rsplit(' ').next())
        .collect();
    assert!(names.len() >= 7, "found {names:?}");
    for name in names {
        assert!(source.contains(&format!("{name}(")) || source.contains(&format!("{name}<")), "{name} is not called");
    }
}
