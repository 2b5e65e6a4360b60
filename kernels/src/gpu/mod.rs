//! The GPU device: one launcher per op over the driver or, in the very same way, over the emulator.
use crate::ops::*;
use crate::{DType, Device, Error, HostTensor, Mem, Result, Space, Tensor, View};
use half::bf16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

mod emulated;
pub(crate) mod kernel;
pub mod modules;
#[cfg(test)]
mod tests;
mod workspace;

pub use emulated::Emulation;
pub(crate) use kernel::{Args, Kernel, Ptr, kernel, vectors};
pub use simt::Grid;

/// Where launches go.
enum Backend {
    Emulated(Emulation),
}

/// A GPU, or its emulation: activations and weights in bf16, sums in f32.
pub struct Gpu {
    backend: Backend,
    space: Space,
    /// The first launch that failed; nothing runs after it.
    failed: OnceLock<Error>,
    /// See [`Gpu::workspace`].
    workspace: Mutex<Option<Tensor>>,
}

/// Numbers GPUs, so that memory of one is not handed to another.
static GPUS: AtomicU32 = AtomicU32::new(0);

impl Gpu {
    /// The emulator.
    pub fn emulated(emulation: Emulation) -> Self {
        let space = Space::Gpu(GPUS.fetch_add(1, Ordering::Relaxed));
        Self { backend: Backend::Emulated(emulation), space, failed: OnceLock::new(), workspace: Mutex::default() }
    }

    pub(crate) fn space(&self) -> Space {
        self.space
    }

    /// Starts the checks of one op call.
    pub(crate) fn args(&self, op: &'static str) -> Result<Args<'_>> {
        self.usable()?;
        Ok(Args { gpu: self, op })
    }

    fn usable(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Enqueues a kernel with `blocks` blocks.
    ///
    /// # Safety
    /// `P` is the kernel's parameter block, laid out as in its source, and the addresses in it came from [`Args`] with
    /// the sizes that the kernel will use.
    pub(crate) unsafe fn launch<P: std::marker::Copy>(
        &self,
        kernel: &Kernel,
        blocks: [u32; 3],
        shared_bytes: u32,
        params: &P,
    ) -> Result<()> {
        self.usable()?;
        if blocks.contains(&0) {
            return Ok(());
        }
        let most = [i32::MAX as u32, 65535, 65535];
        if blocks.iter().zip(most).any(|(&wanted, most)| wanted > most) {
            let detail = format!("a grid of {blocks:?} blocks, at most {most:?}");
            return Err(Error::Contract { op: kernel.name, detail });
        }
        let grid = Grid { blocks, threads: [kernel.threads, 1, 1], shared_bytes };
        // SAFETY: `P` is plain data; padding is never read by the kernel.
        let bytes = unsafe { std::slice::from_raw_parts((&raw const *params).cast::<u8>(), size_of::<P>()) };
        let result = match self.backend {
            // SAFETY: as the caller promises.
            Backend::Emulated(emulation) => unsafe { emulated::launch(emulation, kernel, grid, bytes) },
        };
        if let Err(error) = &result {
            self.failed.get_or_init(|| error.clone());
        }
        result
    }
}

impl Device for Gpu {
    fn describe(&self) -> String {
        match self.backend {
            Backend::Emulated(Emulation { seed, checked }) => {
                format!("emulated GPU, seed {seed}, memory checks {}", if checked { "on" } else { "off" })
            }
        }
    }

    fn activation(&self) -> DType {
        DType::Bf16
    }

    fn alloc(&self, bytes: usize) -> Result<Mem> {
        match self.backend {
            Backend::Emulated(_) => emulated::alloc_guarded(bytes, self.space),
        }
    }

    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        let (bytes, count) = (tensor.bytes(), tensor.dims.count());
        let wanted = count * tensor.dtype.bytes();
        if bytes.len() != wanted || !tensor.dtype.is_float() {
            let (dims, dtype, found) = (tensor.dims.as_slice(), tensor.dtype, bytes.len());
            let detail = format!("a tensor of {dims:?} {dtype:?} has {found} bytes, wanted {wanted} of a float type");
            return Err(Error::Contract { op: "weight", detail });
        }
        let mut out = Tensor::new(self.alloc(count * DType::Bf16.bytes())?, tensor.dims, DType::Bf16);
        match tensor.dtype {
            DType::Bf16 => self.copy_in(&mut out, bytes)?,
            dtype => {
                let values = crate::cpu::widen::to_f32(bytes, dtype);
                let rounded: Vec<bf16> = values.into_iter().map(bf16::from_f32).collect();
                self.copy_in(&mut out, bytemuck::cast_slice(&rounded))?;
            }
        }
        Ok(out)
    }

    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()> {
        let wanted = dst.dims().count() * dst.dtype().bytes();
        same_size("copy_in", wanted, src.len())?;
        let mut view = dst.view_mut();
        self.own("copy_in", view.space())?;
        match self.backend {
            // SAFETY: the tensor holds `wanted` bytes of the emulator's host memory, uniquely borrowed.
            Backend::Emulated(_) => unsafe { view.addr().copy_from(src.as_ptr(), wanted) },
        }
        Ok(())
    }

    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()> {
        self.usable()?;
        same_size("copy_out", src.dims().count() * src.dtype().bytes(), dst.len())?;
        self.own("copy_out", src.space())?;
        let width = src.dims().as_slice().last().copied().unwrap_or(1) * src.dtype().bytes();
        let stride = src.stride() * src.dtype().bytes();
        for (row, dst) in dst.chunks_exact_mut(width.max(1)).enumerate() {
            match self.backend {
                // SAFETY: row by row inside the view, which is emulated, that is host, memory.
                Backend::Emulated(_) => unsafe { src.addr().add(row * stride).copy_to(dst.as_mut_ptr(), width) },
            }
        }
        Ok(())
    }

    fn copy(&self, op: Copy<'_>) -> Result<()> {
        copy::launch::run(self, op)
    }
    fn preprocess_volume(&self, op: PreprocessVolume<'_>) -> Result<()> {
        preprocess_volume::launch::run(self, op)
    }
    fn patch_embed_3d(&self, op: PatchEmbed3d<'_>) -> Result<()> {
        patch_embed_3d::launch::run(self, op)
    }
    fn patch_embed_2d(&self, op: PatchEmbed2d<'_>) -> Result<()> {
        patch_embed_2d::launch::run(self, op)
    }
    fn embed_tokens(&self, op: EmbedTokens<'_>) -> Result<()> {
        embed_tokens::launch::run(self, op)
    }
    fn embed_bert(&self, op: EmbedBert<'_>) -> Result<()> {
        embed_bert::launch::run(self, op)
    }
    fn layer_norm(&self, op: LayerNorm<'_>) -> Result<()> {
        layer_norm::launch::run(self, op)
    }
    fn linear(&self, op: Linear<'_>) -> Result<()> {
        linear::launch::run(self, op)
    }
    fn attention_full(&self, op: AttentionFull<'_>) -> Result<()> {
        attention_full::launch::run(self, op)
    }
    fn avg_pool(&self, op: AvgPool<'_>) -> Result<()> {
        avg_pool::launch::run(self, op)
    }
    fn slice_keys(&self, op: SliceKeys<'_>) -> Result<()> {
        slice_keys::launch::run(self, op)
    }
    fn tgis_scores(&self, op: TgisScores<'_>) -> Result<()> {
        tgis_scores::launch::run(self, op)
    }
    fn slice_combine(&self, op: SliceCombine<'_>) -> Result<()> {
        slice_combine::launch::run(self, op)
    }
    fn slice_max(&self, op: SliceMax<'_>) -> Result<()> {
        slice_max::launch::run(self, op)
    }
    fn qkv_rope_append(&self, op: QkvRopeAppend<'_>) -> Result<()> {
        qkv_rope_append::launch::run(self, op)
    }
    fn attention_paged(&self, op: AttentionPaged<'_>) -> Result<()> {
        attention_paged::launch::run(self, op)
    }
    fn rms_linear(&self, op: RmsLinear<'_>) -> Result<()> {
        rms_linear::launch::run(self, op)
    }
    fn rms_qkv_rope_append(&self, op: RmsQkvRopeAppend<'_>) -> Result<()> {
        rms_qkv_rope_append::launch::run(self, op)
    }
    fn rms_linear_argmax(&self, op: RmsLinearArgmax<'_>) -> Result<()> {
        rms_linear_argmax::launch::run(self, op)
    }
    fn sample(&self, op: Sample<'_>) -> Result<()> {
        sample::launch::run(self, op)
    }
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        rms_norm::launch::run(self, op)
    }
}

impl Gpu {
    fn own(&self, op: &'static str, space: Space) -> Result<()> {
        if space == self.space {
            return Ok(());
        }
        let detail = format!("the tensor lies in the memory of {space:?}, but the op runs on {:?}", self.space);
        Err(Error::Contract { op, detail })
    }
}

fn same_size(op: &'static str, tensor: usize, host: usize) -> Result<()> {
    if tensor == host {
        return Ok(());
    }
    Err(Error::Contract { op, detail: format!("the tensor has {tensor} bytes, the host side {host}") })
}
