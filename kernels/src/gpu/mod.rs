//! The GPU device: one launcher per op over the driver or, in the very same way, over the emulator.
use crate::ops::*;
use crate::{DType, Device, Error, Graph, HostTensor, Mem, Plan, Result, Space, Tensor, View};
use driver::Driver;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tape::{Step, Tape};
use turn::Turns;

mod convert;
mod driver;
mod emulated;
mod graph;
mod in_use;
pub(crate) mod kernel;
mod memory;
pub mod modules;
mod report;
mod tape;
#[cfg(test)]
mod tests;
mod timer;
mod turn;
mod workspace;

pub use emulated::Emulation;
pub(crate) use kernel::{Args, Kernel, Ptr, kernel, vectors};
pub use med2e3_simt::Grid;
pub use report::{GpuReport, gpus};

/// Where launches go.
enum Backend {
    Cuda(Arc<Driver>),
    Emulated(Emulation, Tape),
}

/// A GPU, or its emulation: activations and weights in bf16, sums in f32.
pub struct Gpu {
    backend: Backend,
    space: Space,
    /// The first launch that failed; nothing runs after it.
    failed: Arc<OnceLock<Error>>,
    /// See [`Gpu::workspace`].
    workspace: Mutex<Option<Tensor>>,
    /// Threads that share the device take turns, op by op, since a graph that is recorded or replayed is one op.
    turns: Arc<Turns>,
    /// Bytes that an emulated GPU has left, if they are counted.
    room: Option<Arc<AtomicUsize>>,
}

/// Numbers GPUs, so that memory of one is not handed to another. No process lives long enough to use up 64 bits.
static GPUS: AtomicU64 = AtomicU64::new(0);

impl Gpu {
    /// The emulator.
    pub fn emulated(emulation: Emulation) -> Self {
        Self::new(Backend::Emulated(emulation, Tape::default()))
    }

    /// The emulator of a GPU that has `bytes` of memory.
    pub fn emulated_with_memory(emulation: Emulation, bytes: usize) -> Self {
        Self { room: Some(Arc::new(AtomicUsize::new(bytes))), ..Self::emulated(emulation) }
    }

    /// A real GPU, by the driver's number. No real one has run it yet: tests have a stand-in for
    /// the driver.
    ///
    /// # Errors
    /// [`Error::Unavailable`] with a sentence if this build, the driver or the machine has none, or it is too old.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        Driver::open(ordinal).map(|driver| Self::new(Backend::Cuda(driver)))
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

    fn new(backend: Backend) -> Self {
        let space = Space::Gpu(GPUS.fetch_add(1, Ordering::Relaxed));
        Self { backend, space, failed: Arc::default(), workspace: Mutex::default(), turns: Arc::default(), room: None }
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
        match &self.backend {
            Backend::Cuda(driver) => driver.in_use().note(bytes),
            Backend::Emulated(_, tape) => tape.note(bytes),
        }
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
        // SAFETY: a constant of the compiled source.
        let threads = unsafe { (kernel.source_threads)() };
        assert_eq!(kernel.threads, threads, "{}: launcher and source disagree about threads", kernel.name);
        self.note(match &self.backend {
            // SAFETY: as the caller promises.
            Backend::Cuda(driver) => unsafe { driver.launch(kernel.name, grid, bytes) },
            Backend::Emulated(emulation, tape) => match tape.offer(Step::of(kernel, grid, bytes)) {
                // SAFETY: as the caller promises.
                Some(launch) => unsafe { launch.run(*emulation) },
                None => Ok(()),
            },
        })
    }
}

impl Device for Gpu {
    fn describe(&self) -> String {
        match &self.backend {
            Backend::Cuda(driver) => driver.name.clone(),
            Backend::Emulated(Emulation { seed, checked }, _) => {
                format!("emulated GPU, seed {seed}, memory checks {}", if *checked { "on" } else { "off" })
            }
        }
    }

    fn activation(&self) -> DType {
        DType::Bf16
    }

    fn free_bytes(&self) -> Option<usize> {
        match &self.backend {
            Backend::Cuda(driver) => memory::free_bytes(driver),
            Backend::Emulated(..) => self.room.as_ref().map(|room| room.load(Ordering::Relaxed)),
        }
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
        match &self.backend {
            Backend::Cuda(driver) => self.note(timer::time(driver, enqueue)),
            Backend::Emulated(..) => {
                let start = Instant::now();
                enqueue().map(|()| start.elapsed())
            }
        }
    }

    fn alloc(&self, bytes: usize) -> Result<Mem> {
        self.usable()?;
        let _turn = self.turns.take();
        match &self.backend {
            Backend::Cuda(driver) => self.note(memory::alloc(driver, bytes, self.space)),
            Backend::Emulated(_, tape) => {
                tape.idle("alloc")?;
                emulated::alloc_guarded(bytes, self.space, tape, self.room.clone())
            }
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
        let width = src.dims().as_slice().last().copied().unwrap_or(1) * src.dtype().bytes();
        let (from, stride) = (src.addr(), src.stride() * src.dtype().bytes());
        let _turn = self.turns.take();
        match &self.backend {
            Backend::Cuda(driver) => {
                let rows = memory::Rows { from: from.addr() as u64, width, stride };
                // SAFETY: `dst` holds as many rows as the view.
                self.note(unsafe { memory::download(driver, rows, dst) })
            }
            Backend::Emulated(_, tape) => {
                tape.idle("copy_out")?;
                for (row, dst) in dst.chunks_exact_mut(width.max(1)).enumerate() {
                    // SAFETY: row by row inside the view, which is emulated, that is host, memory.
                    unsafe { from.add(row * stride).copy_to(dst.as_mut_ptr(), width) }
                }
                Ok(())
            }
        }
    }

    fn capture(&self, enqueue: &mut dyn FnMut() -> Result<()>) -> Result<Option<Box<dyn Graph>>> {
        self.usable()?;
        let _turn = self.turns.take();
        match &self.backend {
            Backend::Cuda(driver) => self.note(graph::record(driver, &self.turns, &self.failed, enqueue)).map(Some),
            Backend::Emulated(emulation, tape) => tape.record(*emulation, &self.turns, &self.failed, enqueue).map(Some),
        }
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
    fn rms_norm(&self, op: RmsNorm<'_>) -> Result<()> {
        rms_norm::launch::run(self, op)
    }
}

impl Gpu {
    /// Overwrites a tensor with as many elements of the host's, rounded if their type is another.
    fn fill(&self, dst: &mut Tensor, src: &[u8], dtype: DType) -> Result<()> {
        self.usable()?;
        let (bytes, kinds) = (dst.dims().count() * dst.dtype().bytes(), [dtype, dst.dtype()]);
        self.own("copy_in", dst.view().space())?;
        let mut view = dst.view_mut();
        let _turn = self.turns.take();
        match &self.backend {
            Backend::Cuda(driver) => {
                let to = view.addr().addr() as u64;
                // SAFETY: the tensor holds as many elements as the host's bytes; the caller has compared them.
                self.note(unsafe { memory::upload(driver, to, src, kinds) })
            }
            Backend::Emulated(_, tape) => {
                tape.idle("copy_in")?;
                // SAFETY: the tensor holds `bytes` bytes of the emulator's host memory, uniquely borrowed.
                convert::fill(unsafe { std::slice::from_raw_parts_mut(view.addr(), bytes) }, src, kinds);
                Ok(())
            }
        }
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
