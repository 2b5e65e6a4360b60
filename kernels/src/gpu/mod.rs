//! The GPU device: one launcher per op over the driver or, in the very same way, over the emulator.
use crate::ops::*;
use crate::{DType, Device, Error, Graph, HostTensor, Mem, Plan, Result, Space, Tensor, View};
use backend::{Backend, Shared};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use turn::Turns;

mod backend;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod convert;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "emulator")]
mod emulated;
#[cfg(feature = "cuda")]
mod graph;
#[cfg(any(feature = "cuda", feature = "emulator"))]
mod in_use;
pub(crate) mod kernel;
#[cfg(feature = "cuda")]
mod memory;
#[cfg(feature = "cuda")]
pub mod modules;
#[cfg(feature = "cuda")]
mod nvml;
mod report;
#[cfg(feature = "emulator")]
mod tape;
#[cfg(all(test, feature = "emulator"))]
mod tests;
#[cfg(feature = "cuda")]
mod timer;
mod turn;
mod workspace;

pub use kernel::Grid;
pub(crate) use kernel::{Args, Kernel, Ptr, kernel, vectors};
pub use report::{GpuReport, gpus};

/// How kernels are emulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Emulation {
    /// 0 runs threads in order; any other seed in an order that it decides.
    pub seed: u64,
    /// Checks every memory access; about three times slower.
    pub checked: bool,
}

/// A GPU, or its emulation: activations and weights in bf16, sums in f32.
pub struct Gpu {
    backend: Box<dyn Backend>,
    space: Space,
    /// The first launch that failed; nothing runs after it.
    failed: Arc<OnceLock<Error>>,
    /// See [`Gpu::workspace`].
    workspace: Mutex<Option<Tensor>>,
    /// Threads that share the device take turns, op by op, since a graph that is recorded or replayed is one op.
    turns: Arc<Turns>,
}

impl Gpu {
    /// The emulator.
    #[cfg(feature = "emulator")]
    pub fn emulated(emulation: Emulation) -> Self {
        Self::new(Box::new(emulated::Emulated { emulation, tape: tape::Tape::default(), room: None }))
    }

    /// The emulator of a GPU that has `bytes` of memory.
    #[cfg(feature = "emulator")]
    pub fn emulated_with_memory(emulation: Emulation, bytes: usize) -> Self {
        let room = Some(Arc::new(bytes.into()));
        Self::new(Box::new(emulated::Emulated { emulation, tape: tape::Tape::default(), room }))
    }

    /// The emulator, if this build has it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] in a build without the feature `emulator`.
    pub fn try_emulated(emulation: Emulation) -> Result<Self> {
        #[cfg(feature = "emulator")]
        let gpu = Ok(Self::emulated(emulation));
        #[cfg(not(feature = "emulator"))]
        let gpu = {
            let Emulation { .. } = emulation;
            let detail = "this build has no emulated GPU; build it with --features emulator".into();
            Err(Error::Unavailable { detail })
        };
        gpu
    }

    /// A real GPU, by the driver's number. No real one has run it yet: tests run it over a fake driver.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a sentence if this build, the driver or the machine has none, or it is too old.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        #[cfg(feature = "cuda")]
        let gpu = driver::Driver::open(ordinal).map(|driver| Self::new(Box::new(driver)));
        #[cfg(not(feature = "cuda"))]
        let gpu = {
            let detail = format!("this build cannot use GPU {ordinal}; build it with --features cuda");
            Err(Error::Unavailable { detail })
        };
        gpu
    }

    /// The GPU that `MED2E3_TEST_DEVICE` names (`cuda` or `cuda:N`), for tests that run on the emulator where it names
    /// none.
    ///
    /// # Errors
    /// As [`Gpu::cuda`], and for any other name but `emulated`: a test that was given a GPU must not pass without.
    pub fn for_tests() -> Result<Option<Self>> {
        let Ok(name) = std::env::var("MED2E3_TEST_DEVICE") else { return Ok(None) };
        let ordinal = match name.as_str() {
            "emulated" => return Ok(None),
            "cuda" => Some(0),
            other => other.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        let unknown = || Error::Unavailable { detail: format!("MED2E3_TEST_DEVICE is {name}; set cuda or cuda:N") };
        Self::cuda(ordinal.ok_or_else(unknown)?).map(Some)
    }

    #[cfg(any(feature = "cuda", feature = "emulator"))]
    fn new(backend: Box<dyn Backend>) -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        /// Numbers GPUs, so that memory of one is not handed to another. No process uses up 64 bits.
        static GPUS: AtomicU64 = AtomicU64::new(0);
        let space = Space::Gpu(GPUS.fetch_add(1, Ordering::Relaxed));
        Self { backend, space, failed: Arc::default(), workspace: Mutex::default(), turns: Arc::default() }
    }

    pub(crate) fn space(&self) -> Space {
        self.space
    }

    /// Starts the checks of one op call.
    pub(crate) fn args(&self, op: &'static str) -> Result<Args<'_>> {
        self.usable()?;
        Ok(Args::new(self, op))
    }

    /// Notes memory that an op was given: while a graph is recorded, it is the graph's.
    fn note_use(&self, bytes: Range<usize>) {
        self.backend.note_use(bytes);
    }

    /// Remembers a failure, after which nothing runs any more; other errors pass.
    fn note<T>(&self, result: Result<T>) -> Result<T> {
        if let Err(error @ Error::Launch { .. }) = &result {
            self.failed.get_or_init(|| error.clone());
        }
        result
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
        #[cfg(feature = "emulator")]
        if let Some(twin) = &kernel.twin {
            // SAFETY: a constant of the compiled source.
            let threads = unsafe { (twin.threads)() };
            assert_eq!(kernel.threads, threads, "{}: launcher and source disagree about threads", kernel.name);
        }
        // SAFETY: as the caller promises.
        self.note(unsafe { self.backend.launch(kernel, grid, bytes) })
    }
}

impl Device for Gpu {
    fn describe(&self) -> String {
        self.backend.describe()
    }

    fn activation(&self) -> DType {
        DType::Bf16
    }

    fn free_bytes(&self) -> Option<usize> {
        self.backend.free_bytes()
    }

    fn plan(&self) -> Option<Plan> {
        Some(Plan::gpu())
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        self.workspace(bytes).map(drop)
    }

    fn time(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.usable()?;
        let _turn = self.turns.take();
        self.note(self.backend.time(enqueue))
    }

    fn alloc(&self, bytes: usize) -> Result<Mem> {
        self.usable()?;
        let _turn = self.turns.take();
        self.note(self.backend.alloc(bytes, self.space))
    }

    fn weight(&self, tensor: HostTensor) -> Result<Tensor> {
        let bytes = tensor.bytes();
        let count = tensor.dims.count();
        let wanted = count * tensor.dtype.bytes();
        if bytes.len() != wanted || !tensor.dtype.is_float() {
            let dims = tensor.dims.as_slice();
            let dtype = tensor.dtype;
            let found = bytes.len();
            let detail = format!("a tensor of {dims:?} {dtype:?} has {found} bytes, wanted {wanted} of a float type");
            return Err(Error::Contract { op: "weight", detail });
        }
        let mut out = Tensor::new(self.alloc(count * DType::Bf16.bytes())?, tensor.dims, DType::Bf16);
        self.fill(&mut out, bytes, tensor.dtype)?;
        Ok(out)
    }

    fn copy_in(&self, dst: &mut Tensor, src: &[u8]) -> Result<()> {
        same_size("copy_in", dst.dims().count() * dst.dtype().bytes(), src.len())?;
        let dtype = dst.dtype();
        self.fill(dst, src, dtype)
    }

    fn copy_out(&self, src: View<'_>, dst: &mut [u8]) -> Result<()> {
        self.usable()?;
        same_size("copy_out", src.dims().count() * src.dtype().bytes(), dst.len())?;
        self.own("copy_out", src.space())?;
        let _turn = self.turns.take();
        // SAFETY: the sizes were compared, and the tensor is this GPU's.
        self.note(unsafe { self.backend.download(&src, dst) })
    }

    fn capture(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Graph>>> {
        self.usable()?;
        let _turn = self.turns.take();
        let shared = Shared { turns: self.turns.clone(), failed: self.failed.clone() };
        self.note(self.backend.record(shared, enqueue)).map(Some)
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
    fn advance(&self, op: Advance<'_>) -> Result<()> {
        advance::launch::run(self, op)
    }
    fn sample(&self, op: Sample<'_>) -> Result<()> {
        sample::launch::run(self, op)
    }
    fn log_probs(&self, op: LogProbs<'_>) -> Result<()> {
        log_probs::launch::run(self, op)
    }
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        rms_norm::launch::run(self, op)
    }
}

impl Gpu {
    /// Overwrites a tensor with as many elements of the host's, rounded if their type is another. The caller has
    /// compared the counts.
    fn fill(&self, dst: &mut Tensor, src: &[u8], dtype: DType) -> Result<()> {
        self.usable()?;
        self.own("copy_in", dst.view().space())?;
        let _turn = self.turns.take();
        // SAFETY: the tensor is this GPU's and holds as many elements as the host's bytes.
        self.note(unsafe { self.backend.upload(&mut dst.view_mut(), src, dtype) })
    }

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
