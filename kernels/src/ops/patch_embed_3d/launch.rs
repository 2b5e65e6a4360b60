//! Gathers the patches in bf16, starts every token at its position, and lets `linear` add the product on the tensor
//! cores.
use super::PatchEmbed3d;
use crate::gpu::{Args, Gpu, Kernel, Ptr, kernel, vectors};
use crate::ops::linear::{self, Epilogue, Linear};
use crate::{DType, Result, View, ViewMut};
use std::mem::offset_of;

/// The parameter block of `kernel.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PatchGatherParams {
    volume: Ptr,
    positions: Ptr,
    class_token: Ptr,
    gathered: Ptr,
    out: Ptr,
    grid: [u32; 3],
    patch: [u32; 3],
    hidden: u32,
    places: u32,
    vectors: u32,
}

const _: () = assert!(size_of::<PatchGatherParams>() == 80 && offset_of!(PatchGatherParams, vectors) == 72);

const KERNEL: Kernel = kernel!(patch_gather_kernel, 128);

/// A checked patch embedding of either kind; `out` holds one row more where there is a class token.
pub(crate) struct PatchEmbed<'a> {
    pub volume: View<'a>,
    pub grid: [usize; 3],
    pub patch: [usize; 3],
    pub weight: View<'a>,
    pub bias: View<'a>,
    pub positions: View<'a>,
    pub class_token: Option<View<'a>>,
    pub out: ViewMut<'a>,
}

/// Bytes of all patches in bf16.
pub(crate) fn workspace_bytes(grid: [usize; 3], patch: [usize; 3]) -> usize {
    grid.iter().chain(&patch).product::<usize>() * DType::Bf16.bytes()
}

pub(crate) fn run(gpu: &Gpu, op: PatchEmbed3d<'_>) -> Result<()> {
    let grid = op.check()?;
    let PatchEmbed3d { volume, patch, weight, bias, positions, class_token, out } = op;
    let class_token = Some(class_token);
    let args = gpu.args("patch_embed_3d")?;
    embed(&args, PatchEmbed { volume, grid, patch, weight, bias, positions, class_token, out })
}

pub(crate) fn embed(args: &Args<'_>, mut op: PatchEmbed<'_>) -> Result<()> {
    let gpu = args.gpu;
    let hidden = op.bias.dims().count();
    let patches = op.grid.iter().product::<usize>();
    let voxels = op.patch.iter().product::<usize>();
    let sizes = |name, size: [usize; 3]| -> Result<[u32; 3]> {
        Ok([args.size(name, size[0])?, args.size(name, size[1])?, args.size(name, size[2])?])
    };
    let volume = args.typed("volume", &op.volume, DType::F32)?;
    let positions = args.bf16("positions", &op.positions)?;
    let class_token = args.optional("class_token", &op.class_token)?;
    let out = args.out("out", &mut op.out)?;
    // Before anything is written: `linear` would name its own tensors.
    args.bf16("weight", &op.weight)?;
    args.bf16("bias", &op.bias)?;
    args.size("patch voxels", voxels)?;
    let mut workspace = gpu.workspace(workspace_bytes(op.grid, op.patch))?;
    let params = PatchGatherParams {
        volume,
        positions,
        class_token,
        gathered: workspace.ptr(),
        out,
        grid: sizes("patches", op.grid)?,
        patch: sizes("patch", op.patch)?,
        hidden: args.size("hidden", hidden)?,
        places: args.size("positions", op.positions.dims().as_slice()[0])?,
        vectors: vectors(hidden, &[positions, class_token, out]),
    };
    let tokens = op.out.dims().as_slice()[0];
    // SAFETY: the contract fixed grid times patch for volume, [places, hidden] for positions, [hidden] for the class
    // token and a row of out per block; the workspace holds every patch. The layout is asserted on both sides.
    unsafe { gpu.launch(&KERNEL, [args.size("tokens", tokens)?, 1, 1], 0, &params)? };
    linear::launch::run(
        gpu,
        Linear {
            x: workspace.view(&[patches, voxels], DType::Bf16),
            weight: op.weight,
            bias: Some(op.bias),
            epilogue: Epilogue::Residual,
            out: op.out.rows(tokens - patches..tokens),
        },
    )
}
