//! A device that counts memory and computes nothing: what another device would need, to the byte.
use crate::ops::*;
use crate::{DType, Device, Error, HostTensor, Mem, Result, Space, Tensor, View};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands for a device with the given element types; its tensors have sizes and no contents.
pub struct Plan {
    activation: DType,
    /// What weights are converted to; `None` where they stay as the checkpoint has them.
    weight: Option<DType>,
    weights: AtomicUsize,
    buffers: AtomicUsize,
    /// The most that one op needs beside its tensors.
    workspace: AtomicUsize,
}

/// The number of a GPU that does not exist, so that no device reads the memory.
const NOWHERE: Space = Space::Gpu(u64::MAX);

impl Plan {
    /// As the CPU: f32 activations, weights as they are.
    pub fn cpu() -> Self {
        Self::new(DType::F32, None)
    }

    /// As a GPU: everything in bf16.
    pub fn gpu() -> Self {
        Self::new(DType::Bf16, Some(DType::Bf16))
    }

    fn new(activation: DType, weight: Option<DType>) -> Self {
        Self {
            activation,
            weight,
            weights: AtomicUsize::new(0),
            buffers: AtomicUsize::new(0),
            workspace: AtomicUsize::new(0),
        }
    }

    /// Bytes of all weights so far.
    pub fn weights(&self) -> usize {
        self.weights.load(Ordering::Relaxed)
    }

    /// Bytes of all other tensors so far.
    pub fn buffers(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }

    /// Bytes of the workspace that the ops so far need; none on the CPU.
    pub fn workspace(&self) -> usize {
        self.workspace.load(Ordering::Relaxed)
    }

    /// Notes an op that needs `bytes` beside its tensors on a GPU, if its contract holds.
    fn needs<T>(&self, checked: Result<T>, bytes: impl FnOnce(T) -> usize) -> Result<()> {
        let bytes = bytes(checked?);
        if bytes > isize::MAX as usize {
            return Err(Error::Memory { wanted: bytes, free: None });
        }
        if self.weight.is_some() {
            self.workspace.fetch_max(bytes, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn nothing(bytes: usize) -> Mem {
    // SAFETY: no device has this space, so none accepts a view of the memory, and it is not the host's.
    unsafe { Mem::from_raw(std::ptr::null_mut(), bytes, NOWHERE, true, Box::new(())) }
}

/// Counts `bytes` more, unless no address space could hold them all.
fn add(sum: &AtomicUsize, bytes: usize) -> Result<Mem> {
    let more = |sum: usize| sum.checked_add(bytes).filter(|&sum| sum <= isize::MAX as usize);
    match sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
        Ok(_) => Ok(nothing(bytes)),
        Err(_) => Err(Error::Memory { wanted: bytes, free: None }),
    }
}

impl Device for Plan {
    fn describe(&self) -> String {
        format!("a plan in {:?}", self.activation)
    }
    fn activation(&self) -> DType {
        self.activation
    }
    fn alloc(&self, bytes: usize) -> Result<Mem> {
        add(&self.buffers, bytes)
    }
    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        let dtype = self.weight.unwrap_or(tensor.dtype);
        let mem = add(&self.weights, tensor.dims.count() * dtype.bytes())?;
        Ok(Tensor::new(mem, tensor.dims, dtype))
    }
    fn copy_in(&self, _dst: &mut Tensor, _src: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Zeros.
    fn copy_out(&self, _src: View<'_>, dst: &mut [u8]) -> Result<()> {
        dst.fill(0);
        Ok(())
    }
    fn copy(&self, op: Copy<'_>) -> Result<()> {
        op.check()
    }
    fn preprocess_volume(&self, op: PreprocessVolume<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn patch_embed_3d(&self, op: PatchEmbed3d<'_>) -> Result<()> {
        self.needs(op.check(), |grid| patch_embed_3d::launch::workspace_bytes(grid, op.patch))
    }
    fn patch_embed_2d(&self, op: PatchEmbed2d<'_>) -> Result<()> {
        self.needs(op.check(), |grid| patch_embed_3d::launch::workspace_bytes(grid, [1, op.patch, op.patch]))
    }
    fn embed_tokens(&self, op: EmbedTokens<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn embed_bert(&self, op: EmbedBert<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn layer_norm(&self, op: LayerNorm<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn linear(&self, op: Linear<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn attention_full(&self, op: AttentionFull<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn avg_pool(&self, op: AvgPool<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn slice_keys(&self, op: SliceKeys<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn tgis_scores(&self, op: TgisScores<'_>) -> Result<()> {
        self.needs(op.check(), tgis_scores::launch::workspace_bytes)
    }
    fn slice_combine(&self, op: SliceCombine<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn slice_max(&self, op: SliceMax<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn qkv_rope_append(&self, op: QkvRopeAppend<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        self.needs(op.check(), |shape| attention_paged::launch::workspace_bytes(&op, shape))
    }
    fn rms_linear(&self, op: RmsLinear<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn rms_qkv_rope_append(&self, op: RmsQkvRopeAppend<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn rms_linear_argmax(&self, op: RmsLinearArgmax<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn advance(&self, op: Advance<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn sample(&self, op: Sample<'_>) -> Result<()> {
        op.check().map(drop)
    }
    fn log_probs(&self, op: LogProbs<'_>) -> Result<()> {
        op.check().map(drop)
    }
}
