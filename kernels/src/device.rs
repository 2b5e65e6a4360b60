//! The one boundary between model code and hardware.
use crate::ops::{
    Advance, AttentionFull, AttentionPaged, AvgPool, Copy, EmbedBert, EmbedTokens, LayerNorm, Linear, LogProbs,
    PatchEmbed2d, PatchEmbed3d, PreprocessVolume, QkvRopeAppend, RmsLinear, RmsLinearArgmax, RmsNorm, RmsQkvRopeAppend,
    Sample, SliceCombine, SliceKeys, SliceMax, TgisScores,
};
use crate::{DType, Dims, Elem, Mem, Plan, Result, Tensor, View};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Checked bytes of one tensor in host memory, as a checkpoint holds them.
#[derive(Clone)]
pub struct HostTensor {
    /// What keeps the bytes alive: a mapped file or a vector.
    pub owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// Where in the owner's bytes the tensor lies.
    pub range: Range<usize>,
    /// Its dims, slowest first.
    pub dims: Dims,
    /// Its element type.
    pub dtype: DType,
}

impl HostTensor {
    /// A tensor made of computed values.
    ///
    /// # Panics
    /// As [`Dims::new`].
    pub fn from_f32(dims: &[usize], values: &[f32]) -> Self {
        let bytes: Vec<u8> = bytemuck::cast_slice(values).to_vec();
        let range = 0..bytes.len();
        Self { owner: Arc::new(bytes), range, dims: Dims::new(dims), dtype: DType::F32 }
    }

    /// The tensor's bytes; none if the range leaves the owner's, so that a device refuses the size.
    pub fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref().get(self.range.clone()).unwrap_or_default()
    }
}

/// Ops that were recorded once and run again with one call.
pub trait Graph: Send + Sync {
    /// Enqueues all of them, with the tensors that they were recorded with and what these hold by then.
    ///
    /// # Errors
    /// [`crate::Error::Launch`] if the device fails.
    fn launch(&self) -> Result<()>;
}

/// A place where tensors live and fused ops run, in order.
///
/// Ops enqueue on the device's single stream and may return before the work is done; `copy_out` waits. Outputs are
/// always the caller's. Every op checks its contract before it starts, so an error leaves the outputs untouched.
pub trait Device: Send + Sync {
    /// For people: which device, and how it computes.
    fn describe(&self) -> String;

    /// The element type of activations and of the KV cache on this device.
    fn activation(&self) -> DType;

    /// Bytes that can still be allocated, where the device has a memory of its own.
    fn free_bytes(&self) -> Option<usize> {
        None
    }

    /// Counts what a model would take here; `None` where the device has no memory of its own.
    fn plan(&self) -> Option<Plan> {
        None
    }

    /// Makes the room that ops need beside their tensors, so that they allocate nothing; load time only.
    ///
    /// # Errors
    /// As [`Device::alloc`].
    fn reserve(&self, bytes: usize) -> Result<()> {
        let _ = bytes;
        Ok(())
    }

    /// Allocates zeroed memory; load time only.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if there is not enough.
    fn alloc(&self, bytes: usize) -> Result<Mem>;

    /// Makes a checkpoint tensor usable by ops. May borrow the host bytes for as long as the weight lives.
    ///
    /// # Errors
    /// [`crate::Error::Memory`] if there is not enough.
    fn weight(&self, tensor: HostTensor) -> Result<Tensor>;

    /// Copies host values into a tensor.
    ///
    /// # Errors
    /// If the size differs.
    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()>;

    /// Waits for the stream, then copies a view to the host.
    ///
    /// # Errors
    /// If the size differs, or an op that was enqueued before has failed.
    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()>;

    /// Records the ops that `enqueue` calls instead of running them. `None`, without calling it, where that gains
    /// nothing: call the ops every time.
    ///
    /// While it records, the calling thread may use the device only for ops that have run before: nothing may be
    /// allocated or copied to or from the host. Other threads that use the device wait until it has ended, so `enqueue`
    /// must not wait for them. Memory of tensors that the ops were given is kept as long as the graph.
    ///
    /// # Errors
    /// What `enqueue` returned; [`crate::Error::Contract`] if the ops cannot be recorded.
    fn capture(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Graph>>> {
        let _ = enqueue;
        Ok(None)
    }

    /// How long the ops of `enqueue` take, once all that was enqueued before has ended. A device that works by itself
    /// measures its own time, without the host's.
    ///
    /// # Errors
    /// What `enqueue` returned, or that the device failed.
    fn time(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        let start = Instant::now();
        enqueue()?;
        Ok(start.elapsed())
    }

    /// See [`struct@Copy`].
    fn copy(&self, op: Copy<'_>) -> Result<()>;

    /// See [`PreprocessVolume`].
    fn preprocess_volume(&self, op: PreprocessVolume<'_>) -> Result<()>;
    /// See [`PatchEmbed3d`].
    fn patch_embed_3d(&self, op: PatchEmbed3d<'_>) -> Result<()>;
    /// See [`PatchEmbed2d`].
    fn patch_embed_2d(&self, op: PatchEmbed2d<'_>) -> Result<()>;
    /// See [`EmbedTokens`].
    fn embed_tokens(&self, op: EmbedTokens<'_>) -> Result<()>;
    /// See [`EmbedBert`].
    fn embed_bert(&self, op: EmbedBert<'_>) -> Result<()>;
    /// See [`LayerNorm`].
    fn layer_norm(&self, op: LayerNorm<'_>) -> Result<()>;
    /// See [`RmsNorm`].
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()>;
    /// See [`Linear`].
    fn linear(&self, op: Linear<'_>) -> Result<()>;
    /// See [`AttentionFull`].
    fn attention_full(&self, op: AttentionFull<'_>) -> Result<()>;
    /// See [`AvgPool`].
    fn avg_pool(&self, op: AvgPool<'_>) -> Result<()>;
    /// See [`SliceKeys`].
    fn slice_keys(&self, op: SliceKeys<'_>) -> Result<()>;
    /// See [`TgisScores`].
    fn tgis_scores(&self, op: TgisScores<'_>) -> Result<()>;
    /// See [`SliceCombine`].
    fn slice_combine(&self, op: SliceCombine<'_>) -> Result<()>;
    /// See [`SliceMax`].
    fn slice_max(&self, op: SliceMax<'_>) -> Result<()>;
    /// See [`QkvRopeAppend`].
    fn qkv_rope_append(&self, op: QkvRopeAppend<'_>) -> Result<()>;
    /// See [`AttentionPaged`].
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()>;
    /// See [`RmsLinear`].
    fn rms_linear(&self, op: RmsLinear<'_>) -> Result<()>;
    /// See [`RmsQkvRopeAppend`].
    fn rms_qkv_rope_append(&self, op: RmsQkvRopeAppend<'_>) -> Result<()>;
    /// See [`RmsLinearArgmax`].
    fn rms_linear_argmax(&self, op: RmsLinearArgmax<'_>) -> Result<()>;
    /// See [`Advance`].
    fn advance(&self, op: Advance<'_>) -> Result<()>;
    /// See [`Sample`].
    fn sample(&self, op: Sample<'_>) -> Result<()>;
    /// See [`LogProbs`].
    fn log_probs(&self, op: LogProbs<'_>) -> Result<()>;
}

impl dyn Device + '_ {
    /// Allocates a tensor of the device's activation type.
    ///
    /// # Errors
    /// As [`Dims::checked`] and [`Device::alloc`].
    pub fn activations(&self, dims: &[usize]) -> Result<Tensor> {
        self.tensor(dims, self.activation())
    }

    /// Allocates a tensor.
    ///
    /// # Errors
    /// As [`Dims::checked`] and [`Device::alloc`].
    pub fn tensor(&self, dims: &[usize], dtype: DType) -> Result<Tensor> {
        let dims = Dims::checked(dims)?;
        Ok(Tensor::new(self.alloc(dims.count() * dtype.bytes())?, dims, dtype))
    }

    /// Copies values of the tensor's own element type into it.
    ///
    /// # Errors
    /// If type or count differ.
    pub fn write<T: Elem>(&self, dst: &mut Tensor, src: &[T]) -> Result<()> {
        self.copy_in(dst, bytemuck::cast_slice(src))
    }

    /// Waits, then reads a view of any float type as `f32`.
    ///
    /// # Errors
    /// As [`Device::copy_out`], and [`crate::Error::Memory`] if the host has no room.
    pub fn read(&self, src: View<'_>) -> Result<Vec<f32>> {
        let mut bytes = zeros::<u8>(src.dims().count() * src.dtype().bytes())?;
        self.copy_out(src, &mut bytes)?;
        Ok(crate::cpu::widen::to_f32(&bytes, src.dtype()))
    }

    /// Waits, then reads a view of `u32`.
    ///
    /// # Errors
    /// As [`Device::copy_out`], and [`crate::Error::Memory`] if the host has no room.
    pub fn read_u32(&self, src: View<'_>) -> Result<Vec<u32>> {
        let mut values = zeros::<u32>(src.dims().count())?;
        self.copy_out(src, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// Zeros in host memory; a tensor of [`Plan`] can be larger than all memory there is.
fn zeros<T: bytemuck::Zeroable + Clone>(count: usize) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let full = |_| crate::Error::Memory { wanted: count.saturating_mul(size_of::<T>()), free: None };
    values.try_reserve_exact(count).map_err(full)?;
    values.resize(count, T::zeroed());
    Ok(values)
}
