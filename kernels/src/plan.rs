//! A device that counts memory and computes nothing: what another device would need, to the byte.
use crate::ops::*;
use crate::{DType, Device, HostTensor, Mem, Result, Space, Tensor, View};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stands for a device with the given element types; its tensors have sizes and no contents.
pub struct Plan {
    activation: DType,
    /// What weights are converted to; `None` where they stay as the checkpoint has them.
    weight: Option<DType>,
    weights: AtomicUsize,
    buffers: AtomicUsize,
}

/// The number of a GPU that does not exist, so that nobody reads the memory.
const NOWHERE: Space = Space::Gpu(u32::MAX);

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
        Self { activation, weight, weights: AtomicUsize::new(0), buffers: AtomicUsize::new(0) }
    }

    /// Bytes of all weights so far.
    pub fn weights(&self) -> usize {
        self.weights.load(Ordering::Relaxed)
    }

    /// Bytes of all other tensors so far.
    pub fn buffers(&self) -> usize {
        self.buffers.load(Ordering::Relaxed)
    }
}

fn nothing(bytes: usize) -> Mem {
    // SAFETY: the memory lies on no device, so nobody reads or writes it.
    unsafe { Mem::from_raw(std::ptr::null_mut(), bytes, NOWHERE, true, Box::new(())) }
}

impl Device for Plan {
    fn describe(&self) -> String {
        format!("a plan in {:?}", self.activation)
    }
    fn activation(&self) -> DType {
        self.activation
    }
    fn alloc(&self, bytes: usize) -> Result<Mem> {
        self.buffers.fetch_add(bytes, Ordering::Relaxed);
        Ok(nothing(bytes))
    }
    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        let dtype = self.weight.unwrap_or(tensor.dtype);
        let bytes = tensor.dims.count() * dtype.bytes();
        self.weights.fetch_add(bytes, Ordering::Relaxed);
        Ok(Tensor::new(nothing(bytes), tensor.dims, dtype))
    }
    fn copy_in(&self, _dst: &mut Tensor, _src: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Zeros.
    fn copy_out(&self, _src: View<'_>, dst: &mut [u8]) -> Result<()> {
        dst.fill(0);
        Ok(())
    }
    fn copy(&self, _op: Copy<'_>) -> Result<()> {
        Ok(())
    }
    fn preprocess_volume(&self, _op: PreprocessVolume<'_>) -> Result<()> {
        Ok(())
    }
    fn patch_embed_3d(&self, _op: PatchEmbed3d<'_>) -> Result<()> {
        Ok(())
    }
    fn patch_embed_2d(&self, _op: PatchEmbed2d<'_>) -> Result<()> {
        Ok(())
    }
    fn embed_tokens(&self, _op: EmbedTokens<'_>) -> Result<()> {
        Ok(())
    }
    fn embed_bert(&self, _op: EmbedBert<'_>) -> Result<()> {
        Ok(())
    }
    fn layer_norm(&self, _op: LayerNorm<'_>) -> Result<()> {
        Ok(())
    }
    fn rms_norm(&self, _op: RmsNorm<'_>) -> Result<()> {
        Ok(())
    }
    fn linear(&self, _op: Linear<'_>) -> Result<()> {
        Ok(())
    }
    fn attention_full(&self, _op: AttentionFull<'_>) -> Result<()> {
        Ok(())
    }
    fn avg_pool(&self, _op: AvgPool<'_>) -> Result<()> {
        Ok(())
    }
    fn slice_keys(&self, _op: SliceKeys<'_>) -> Result<()> {
        Ok(())
    }
    fn tgis_scores(&self, _op: TgisScores<'_>) -> Result<()> {
        Ok(())
    }
    fn slice_combine(&self, _op: SliceCombine<'_>) -> Result<()> {
        Ok(())
    }
    fn slice_max(&self, _op: SliceMax<'_>) -> Result<()> {
        Ok(())
    }
    fn qkv_rope_append(&self, _op: QkvRopeAppend<'_>) -> Result<()> {
        Ok(())
    }
    fn attention_paged(&self, _op: AttentionPaged<'_>) -> Result<()> {
        Ok(())
    }
    fn rms_linear(&self, _op: RmsLinear<'_>) -> Result<()> {
        Ok(())
    }
    fn rms_qkv_rope_append(&self, _op: RmsQkvRopeAppend<'_>) -> Result<()> {
        Ok(())
    }
    fn rms_linear_argmax(&self, _op: RmsLinearArgmax<'_>) -> Result<()> {
        Ok(())
    }
    fn advance(&self, _op: Advance<'_>) -> Result<()> {
        Ok(())
    }
    fn sample(&self, _op: Sample<'_>) -> Result<()> {
        Ok(())
    }
}
