//! Many rows: chooses the tile, and hands over addresses and sizes.
use super::{Epilogue, Linear, Shape, few};
use crate::gpu::{Gpu, Kernel, Ptr, kernel};
use crate::{DECODE_ROWS_MAX, DType, Result, View};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LinearParams {
    x: Ptr,
    weight: Ptr,
    bias: Ptr,
    out: Ptr,
    rows: u32,
    inner: u32,
    columns: u32,
    x_stride: u32,
    weight_stride: u32,
    floats: u32,
    fours: u32,
}

const _: () = assert!(size_of::<LinearParams>() == 64 && offset_of!(LinearParams, fours) == 56);

/// One entry point per epilogue, in the order of [`Epilogue`].
pub(super) type Family = [Kernel; 6];

const LARGE: Family = [
    kernel!(linear_large_none_kernel, 128),
    kernel!(linear_large_gelu_erf_kernel, 128),
    kernel!(linear_large_gelu_tanh_kernel, 128),
    kernel!(linear_large_tanh_kernel, 128),
    kernel!(linear_large_residual_kernel, 128),
    kernel!(linear_large_swiglu_kernel, 128),
];

const SMALL: Family = [
    kernel!(linear_small_none_kernel, 128),
    kernel!(linear_small_gelu_erf_kernel, 128),
    kernel!(linear_small_gelu_tanh_kernel, 128),
    kernel!(linear_small_tanh_kernel, 128),
    kernel!(linear_small_residual_kernel, 128),
    kernel!(linear_small_swiglu_kernel, 128),
];

const ANY: Family = [
    kernel!(linear_any_none_kernel, 128),
    kernel!(linear_any_gelu_erf_kernel, 128),
    kernel!(linear_any_gelu_tanh_kernel, 128),
    kernel!(linear_any_tanh_kernel, 128),
    kernel!(linear_any_residual_kernel, 128),
    kernel!(linear_any_swiglu_kernel, 128),
];

/// How a product is cut into blocks. All give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Tiles of 128 × 128.
    Large,
    /// Tiles of 64 × 64.
    Small,
    /// Tiles of 64 × 64 from rows on any boundary.
    Any,
}

impl Way {
    /// The tile whose busiest multiprocessor has less to do, counted on the 108 of the A800 whatever the device, so
    /// that a shape always runs the same way. A small tile moves twice the bytes per product through shared memory:
    /// its work counts 5/4.
    pub(super) fn of(inputs: [&View<'_>; 2], epilogue: Epilogue, shape: Shape) -> Self {
        let columns = shape.out << usize::from(epilogue == Epilogue::SwiGlu);
        let busiest = |tile: usize| (shape.rows.div_ceil(tile) * columns.div_ceil(tile)).div_ceil(108);
        match inputs.into_iter().all(aligned) {
            false => Way::Any,
            true if 16 * busiest(128) <= 5 * busiest(64) => Way::Large,
            true => Way::Small,
        }
    }

    fn tile(self) -> usize {
        if self == Way::Large { 128 } else { 64 }
    }

    fn kernel(self, epilogue: Epilogue) -> &'static Kernel {
        let family: &'static Family = match self {
            Way::Large => &LARGE,
            Way::Small => &SMALL,
            Way::Any => &ANY,
        };
        &family[epilogue as usize]
    }
}

/// Whether every row consists of whole 16-byte pieces on 16-byte boundaries.
pub(crate) fn aligned(view: &View<'_>) -> bool {
    let width = view.dims().as_slice().last().copied().unwrap_or(1);
    width.is_multiple_of(8) && view.stride().is_multiple_of(8) && view.addr().addr().is_multiple_of(16)
}

pub(crate) fn run(gpu: &Gpu, op: Linear<'_>) -> Result<()> {
    let shape = op.check()?;
    if shape.rows <= DECODE_ROWS_MAX {
        return few::run(gpu, op);
    }
    let way = Way::of([&op.x, &op.weight], op.epilogue, shape);
    run_as(gpu, op, way)
}

/// Stages of `kernel.cu`, and bytes of one row of a stage.
const STAGES: usize = 4;
const STAGE_ROW_BYTES: usize = 64;

pub(crate) fn run_as(gpu: &Gpu, mut op: Linear<'_>, way: Way) -> Result<()> {
    let shape = op.check()?;
    let args = gpu.args("linear")?;
    let dtype = op.out.dtype();
    let out = args.out_typed("out", &mut op.out, dtype)?;
    let bias = args.optional("bias", &op.bias)?;
    let on_fours = out.is_aligned(4 * dtype.bytes() as u64) && bias.is_aligned(4 * DType::Bf16.bytes() as u64);
    let params = LinearParams {
        x: args.strided("x", &op.x, DType::Bf16)?,
        weight: args.strided("weight", &op.weight, DType::Bf16)?,
        bias,
        out,
        rows: args.size("rows", shape.rows)?,
        inner: args.size("in", shape.inner)?,
        columns: args.size("out", shape.out)?,
        x_stride: args.size("stride of x", op.x.stride())?,
        weight_stride: args.size("stride of weight", op.weight.stride())?,
        floats: u32::from(dtype == DType::F32),
        fours: u32::from(shape.out.is_multiple_of(4) && on_fours),
    };
    let tile = way.tile();
    let width = tile >> usize::from(op.epilogue == Epilogue::SwiGlu);
    let blocks = args.size("tiles", shape.rows.div_ceil(tile) * shape.out.div_ceil(width))?;
    let shared = args.size("shared memory", STAGES * 2 * tile * STAGE_ROW_BYTES)?;
    // SAFETY: the contract fixed the dims of all five tensors, strides included; a vector path runs only on aligned
    // rows; the layout is asserted on both sides.
    unsafe { gpu.launch(way.kernel(op.epilogue), [blocks, 1, 1], shared, &params) }
}
