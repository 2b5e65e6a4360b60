//! One block per slice and 256 columns.
use super::SliceKeys;
use crate::gpu::{Gpu, Kernel, Ptr, kernel, vectors};
use crate::{DType, Result};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`; an absent tensor has no tokens.
#[repr(C)]
#[derive(Clone, Copy)]
struct SliceKeysParams {
    z_3d: Ptr,
    z_2d_slices: Ptr,
    keys: Ptr,
    layer_tokens: u32,
    slices_per_layer: u32,
    slice_tokens: u32,
    dim: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<SliceKeysParams>() == 48 && offset_of!(SliceKeysParams, vectors) == 40);

const KERNEL: Kernel = kernel!(slice_keys_kernel, 256);

pub(crate) fn run(gpu: &Gpu, mut op: SliceKeys<'_>) -> Result<()> {
    let (slices, dim) = op.check()?;
    let args = gpu.args("slice_keys")?;
    let z_3d = args.optional("z_3d", &op.z_3d)?;
    let z_2d_slices = args.optional("z_2d_slices", &op.z_2d_slices)?;
    // A layer of the whole volume holds all tokens and serves all slices.
    let (layers, layer_tokens) = match op.z_3d.as_ref().map(|z_3d| z_3d.dims()) {
        Some(dims) if op.whole_volume => (1, dims.as_slice()[0] * dims.as_slice()[1]),
        Some(dims) => (dims.as_slice()[0], dims.as_slice()[1]),
        None => (1, 0),
    };
    let slice_tokens = op.z_2d_slices.as_ref().map_or(0, |z_2d_slices| z_2d_slices.dims().as_slice()[1]);
    args.size("tokens of one slice", slice_tokens + layer_tokens)?;
    let params = SliceKeysParams {
        z_3d,
        z_2d_slices,
        keys: args.out_typed("keys", &mut op.keys, DType::F32)?,
        layer_tokens: args.size("layer tokens", layer_tokens)?,
        slices_per_layer: args.size("slices", slices / layers)?,
        slice_tokens: args.size("slice tokens", slice_tokens)?,
        dim: args.size("dim", dim)?,
        vectors: vectors(dim, &[z_3d, z_2d_slices]),
    };
    let blocks = [args.size("slices", slices)?, params.dim.div_ceil(KERNEL.threads), 1];
    // SAFETY: the contract fixed the dims of all three, with layers that divide the slices; the layout is asserted on
    // both sides.
    unsafe { gpu.launch(&KERNEL, blocks, 0, &params) }
}
