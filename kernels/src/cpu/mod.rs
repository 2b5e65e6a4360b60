//! The CPU device: every op's definition, and a usable engine on machines without a GPU.
use crate::ops::{
    Advance, AttentionFull, AttentionPaged, AvgPool, Copy, EmbedBert, EmbedTokens, LayerNorm, Linear, LogProbs,
    PatchEmbed2d, PatchEmbed3d, PreprocessVolume, QkvRopeAppend, RmsLinear, RmsLinearArgmax, RmsNorm, RmsQkvRopeAppend,
    Sample, SliceCombine, SliceKeys, SliceMax, TgisScores,
};
use crate::ops::{
    advance, attention_full, attention_paged, avg_pool, copy, embed_bert, embed_tokens, layer_norm, linear, log_probs,
    patch_embed_2d, patch_embed_3d, preprocess_volume, qkv_rope_append, rms_linear, rms_linear_argmax, rms_norm,
    rms_qkv_rope_append, sample, slice_combine, slice_keys, slice_max, tgis_scores,
};
use crate::{DType, Device, Error, HostTensor, Mem, Result, Space, Tensor, View};
use std::alloc::{Layout, alloc_zeroed, dealloc};

pub(crate) mod attend;
mod attend_few;
pub(crate) mod fast;
pub(crate) mod gather;
pub(crate) mod lanes;
pub(crate) mod math;
#[cfg(test)]
mod math_tests;
pub(crate) mod product;
pub(crate) mod scratch;
pub(crate) mod widen;

/// How `Cpu` computes large products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Activations are never rounded below f32.
    Exact,
    /// Inputs of large products may be rounded to bf16, where the processor multiplies bf16 faster.
    Fast,
    /// As [`Precision::Fast`] wherever it runs, the products in plain Rust: slow, for tests of what is rounded.
    FastTwin,
}

/// Runs ops at once, on all cores of rayon's global pool.
pub struct Cpu {
    /// How large products are computed.
    pub precision: Precision,
}

/// Alignment of every allocation: a cache line, and enough for any vector register.
const ALIGN: usize = 64;

/// Zeroed, aligned host memory.
struct Block {
    addr: *mut u8,
    layout: Layout,
}

// SAFETY: a `Block` owns its bytes and never touches them.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `addr` came from `alloc_zeroed` with this layout and is released once.
        unsafe { dealloc(self.addr, self.layout) }
    }
}

fn allocate(bytes: usize) -> Result<Mem> {
    let layout =
        Layout::from_size_align(bytes.max(ALIGN), ALIGN).map_err(|_| Error::Memory { wanted: bytes, free: None })?;
    // SAFETY: the layout is never zero-sized.
    let addr = unsafe { alloc_zeroed(layout) };
    if addr.is_null() {
        return Err(Error::Memory { wanted: bytes, free: None });
    }
    // SAFETY: `Block` owns exactly these bytes until it is dropped.
    Ok(unsafe { Mem::from_raw(addr, bytes, Space::Host, true, Box::new(Block { addr, layout })) })
}

impl Device for Cpu {
    fn describe(&self) -> String {
        linear::cpu::describe(self.precision)
    }

    fn activation(&self) -> DType {
        DType::F32
    }

    fn alloc(&self, bytes: usize) -> Result<Mem> {
        allocate(bytes)
    }

    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        let bytes = tensor.bytes();
        let wanted = tensor.dims.count() * tensor.dtype.bytes();
        if bytes.len() != wanted {
            let detail = format!("a tensor of {:?} has {} bytes, wanted {wanted}", tensor.dims.as_slice(), bytes.len());
            return Err(Error::Contract { op: "weight", detail });
        }
        if !bytes.as_ptr().addr().is_multiple_of(tensor.dtype.bytes()) {
            let mut copied = Tensor::new(allocate(wanted)?, tensor.dims, tensor.dtype);
            self.copy_in(&mut copied, bytes)?;
            return Ok(copied);
        }
        let addr = bytes.as_ptr().cast_mut();
        // SAFETY: `as_ref` borrowed the bytes from the value that the `Arc` shares. A clone of it keeps that value
        // alive and shared, so that safe code can neither change nor move it; the memory is marked read-only.
        let mem = unsafe { Mem::from_raw(addr, wanted, Space::Host, false, Box::new(tensor.owner.clone())) };
        Ok(Tensor::new(mem, tensor.dims, tensor.dtype))
    }

    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()> {
        if !dst.is_writable() {
            let detail = "the tensor is a weight that borrows the checkpoint's memory, which is read-only".into();
            return Err(Error::Contract { op: "copy_in", detail });
        }
        let wanted = dst.dims().count() * dst.dtype().bytes();
        copy::cpu::bytes_in(dst.view_mut(), wanted, src)
    }

    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()> {
        copy::cpu::bytes_out(src, dst)
    }

    fn copy(&self, op: Copy<'_>) -> Result<()> {
        copy::cpu::run(op)
    }
    fn preprocess_volume(&self, op: PreprocessVolume<'_>) -> Result<()> {
        preprocess_volume::cpu::run(op)
    }
    fn patch_embed_3d(&self, op: PatchEmbed3d<'_>) -> Result<()> {
        patch_embed_3d::cpu::run(op, self.precision)
    }
    fn patch_embed_2d(&self, op: PatchEmbed2d<'_>) -> Result<()> {
        patch_embed_2d::cpu::run(op, self.precision)
    }
    fn embed_tokens(&self, op: EmbedTokens<'_>) -> Result<()> {
        embed_tokens::cpu::run(op)
    }
    fn embed_bert(&self, op: EmbedBert<'_>) -> Result<()> {
        embed_bert::cpu::run(op)
    }
    fn layer_norm(&self, op: LayerNorm<'_>) -> Result<()> {
        layer_norm::cpu::run(op)
    }
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        rms_norm::cpu::run(op)
    }
    fn linear(&self, op: Linear<'_>) -> Result<()> {
        linear::cpu::run(op, self.precision)
    }
    fn attention_full(&self, op: AttentionFull<'_>) -> Result<()> {
        attention_full::cpu::run(op, self.precision)
    }
    fn avg_pool(&self, op: AvgPool<'_>) -> Result<()> {
        avg_pool::cpu::run(op)
    }
    fn slice_keys(&self, op: SliceKeys<'_>) -> Result<()> {
        slice_keys::cpu::run(op)
    }
    fn tgis_scores(&self, op: TgisScores<'_>) -> Result<()> {
        tgis_scores::cpu::run(op)
    }
    fn slice_combine(&self, op: SliceCombine<'_>) -> Result<()> {
        slice_combine::cpu::run(op)
    }
    fn slice_max(&self, op: SliceMax<'_>) -> Result<()> {
        slice_max::cpu::run(op)
    }
    fn qkv_rope_append(&self, op: QkvRopeAppend<'_>) -> Result<()> {
        qkv_rope_append::cpu::run(op)
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        attention_paged::cpu::run(op, self.precision)
    }
    fn rms_linear(&self, op: RmsLinear<'_>) -> Result<()> {
        rms_linear::cpu::run(op, self.precision)
    }
    fn rms_qkv_rope_append(&self, op: RmsQkvRopeAppend<'_>) -> Result<()> {
        rms_qkv_rope_append::cpu::run(op, self.precision)
    }
    fn rms_linear_argmax(&self, op: RmsLinearArgmax<'_>) -> Result<()> {
        rms_linear_argmax::cpu::run(op, self.precision)
    }
    fn advance(&self, op: Advance<'_>) -> Result<()> {
        advance::cpu::run(op)
    }
    fn sample(&self, op: Sample<'_>) -> Result<()> {
        sample::cpu::run(op)
    }
    fn log_probs(&self, op: LogProbs<'_>) -> Result<()> {
        log_probs::cpu::run(op)
    }
}
