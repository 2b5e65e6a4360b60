//! Few rows: the weights are streamed from memory once.
use super::launch::{Family, aligned};
use super::{Epilogue, Linear, Shape};
use crate::gpu::{Args, Gpu, Kernel, Ptr, kernel};
use crate::{DType, Result, View};
use std::mem::offset_of;

/// `FewInput` of `few_rows.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FewInput {
    pub x: Ptr,
    pub norm: Ptr,
    pub weight: Ptr,
    pub rows: u32,
    pub inner: u32,
    pub x_stride: u32,
    pub weight_stride: u32,
    pub eps: f32,
}

/// The parameter block of `few_linear.cuh`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct FewLinearParams {
    input: FewInput,
    bias: Ptr,
    out: Ptr,
    columns: u32,
    floats: u32,
}

const _: () = assert!(
    size_of::<FewInput>() == 48 && size_of::<FewLinearParams>() == 72 && offset_of!(FewLinearParams, floats) == 68
);

const VECTORS: Family = [
    kernel!(linear_few_none_kernel, 256),
    kernel!(linear_few_gelu_erf_kernel, 256),
    kernel!(linear_few_gelu_tanh_kernel, 256),
    kernel!(linear_few_tanh_kernel, 256),
    kernel!(linear_few_residual_kernel, 256),
    kernel!(linear_few_swiglu_kernel, 256),
];

const ANY: Family = [
    kernel!(linear_few_any_none_kernel, 256),
    kernel!(linear_few_any_gelu_erf_kernel, 256),
    kernel!(linear_few_any_gelu_tanh_kernel, 256),
    kernel!(linear_few_any_tanh_kernel, 256),
    kernel!(linear_few_any_residual_kernel, 256),
    kernel!(linear_few_any_swiglu_kernel, 256),
];

/// The weight of an RMS norm of the rows of x, and what it adds to the mean square.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub weight: View<'a>,
    pub eps: f32,
}

impl FewInput {
    /// The addresses and sizes of a checked op, and whether its rows can be read 16 bytes at a time.
    pub fn new(args: &Args<'_>, [x, weight]: [&View<'_>; 2], norm: Option<Norm<'_>>) -> Result<(Self, bool)> {
        let &[rows, inner] = x.dims().as_slice() else { unreachable!("the contract fixed the rank") };
        let input = Self {
            x: args.strided("x", x, DType::Bf16)?,
            norm: args.optional("norm", &norm.map(|norm| norm.weight))?,
            weight: args.strided("weight", weight, DType::Bf16)?,
            rows: args.size("rows", rows)?,
            inner: args.size("in", inner)?,
            x_stride: args.size("stride of x", x.stride())?,
            weight_stride: args.size("stride of weight", weight.stride())?,
            eps: norm.map_or(0.0, |norm| norm.eps),
        };
        Ok((input, aligned(x) && aligned(weight) && norm.is_none_or(|norm| aligned(&norm.weight))))
    }
}

pub(super) fn run(gpu: &Gpu, op: Linear<'_>) -> Result<()> {
    let shape = op.check()?;
    let epilogue = op.epilogue as usize;
    launch(
        gpu,
        gpu.args("linear")?,
        op,
        shape,
        None,
        |vectors| if vectors { &VECTORS[epilogue] } else { &ANY[epilogue] },
    )
}

/// Launches the kernel that `choose` names, for rows that can be read 16 bytes at a time or not.
pub(crate) fn launch(
    gpu: &Gpu,
    args: Args<'_>,
    mut op: Linear<'_>,
    shape: Shape,
    norm: Option<Norm<'_>>,
    choose: impl Fn(bool) -> &'static Kernel,
) -> Result<()> {
    let (input, vectors) = FewInput::new(&args, [&op.x, &op.weight], norm)?;
    let dtype = op.out.dtype();
    let params = FewLinearParams {
        input,
        bias: args.optional("bias", &op.bias)?,
        out: args.out_typed("out", &mut op.out, dtype)?,
        columns: args.size("out", shape.out)?,
        floats: u32::from(dtype == DType::F32),
    };
    let width = if op.epilogue == Epilogue::SwiGlu { 8 } else { 16 };
    let blocks = if shape.rows == 0 { 0 } else { params.columns.div_ceil(width) };
    // SAFETY: the contract fixed the dims of all tensors, strides included, and at most sixteen rows; vectors are read
    // only from aligned rows; the layout is asserted on both sides.
    unsafe { gpu.launch(choose(vectors), [blocks, 1, 1], 0, &params) }
}
