//! One model on one device: encode a volume once, then ask many questions about it.
use crate::connector::{Connector, Shape};
use crate::kv::Pages;
use crate::llm::Llm;
use crate::text_encoder::TextEncoder;
use crate::tgis::Aggregation;
use crate::trace::{Recorder, Trace};
use crate::vision_2d::{SLICES_PER_PASS, Vision2d};
use crate::vision_3d::Vision3d;
use crate::weights::Loading;
use crate::{BATCH_MAX, Error, LoadOptions, Progress, Result};
use med2e3_kernels::{DType, Device, PAGE_TOKENS, Plan, Tensor};
use med2e3_loaders::config::Connector2d;
use med2e3_loaders::tokenizer::{BertTokenizer, LlmTokenizer};
use med2e3_loaders::{ModelConfig, ModelFolder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A loaded model with all its buffers; answers one question at a time, or as many as it was loaded for.
pub struct Engine {
    /// No other engine of the process has it; its volumes carry it.
    pub(crate) id: u64,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) config: ModelConfig,
    pub(crate) tokenizer: Arc<LlmTokenizer>,
    pub(crate) bert_tokenizer: Option<BertTokenizer>,
    pub(crate) vision_3d: Vision3d,
    connector_3d: Connector,
    pub(crate) planes: Option<Planes>,
    pub(crate) aggregation: Option<Aggregation>,
    pub(crate) text_encoder: Option<TextEncoder>,
    pub(crate) llm: Llm,
    /// Who holds which page of the LLM's cache.
    pub(crate) pages: Pages,
    pub(crate) batch: usize,
    volume: Tensor,
}

/// The 2D branch.
pub(crate) struct Planes {
    pub vision: Vision2d,
    connector: Connector,
}

/// Everything about a volume that no question changes, on the engine's device.
pub struct EncodedVolume {
    /// The engine that encoded it: to another one its features mean nothing.
    pub(crate) engine: u64,
    /// No other volume of the process has it.
    pub(crate) id: u64,
    /// `[slices, height, width]`, f32.
    pub(crate) volume: Tensor,
    /// `[3D tokens, LLM width]`, activations.
    pub(crate) z_3d: Tensor,
    /// `[slices, tokens of a slice, LLM width]`, activations.
    pub(crate) z_2d_slices: Option<Tensor>,
    /// `[slices, LLM width]`, f32: what TG-IS scores.
    pub(crate) keys: Option<Tensor>,
}

/// Numbers engines.
static ENGINES: AtomicU64 = AtomicU64::new(0);

/// Numbers volumes.
static VOLUMES: AtomicU64 = AtomicU64::new(0);

impl EncodedVolume {
    /// Device memory behind it.
    pub fn bytes(&self) -> usize {
        let parts = [Some(&self.volume), Some(&self.z_3d), self.z_2d_slices.as_ref(), self.keys.as_ref()];
        parts.into_iter().flatten().map(Tensor::bytes).sum()
    }
}

/// Device memory of a loaded model, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights as the device holds them.
    pub weights: usize,
    /// Every buffer and the KV cache.
    pub buffers: usize,
    /// What ops share between their launches.
    pub workspace: usize,
    /// What each encoded volume adds.
    pub volume: usize,
}

impl MemoryPlan {
    /// To load the model and encode one volume.
    pub fn total(&self) -> usize {
        self.weights + self.buffers + self.workspace + self.volume
    }
}

impl Engine {
    /// What [`Engine::load`] and one volume would take on a device like `plan`, to the byte, without loading.
    ///
    /// # Errors
    /// As [`Engine::load`], but for lack of memory.
    pub fn plan(plan: Plan, folder: &ModelFolder, options: &LoadOptions) -> Result<MemoryPlan> {
        let plan = Arc::new(plan);
        let mut engine = Self::load(plan.clone(), folder, options, &mut |_| ())?;
        let buffers = plan.buffers();
        let voxels = engine.img_size().iter().product();
        let volume = engine.encode(&vec![0.0; voxels], &mut |_| ())?.bytes();
        engine.llm.rehearse(&*plan)?;
        Ok(MemoryPlan { weights: plan.weights(), buffers, volume, workspace: plan.workspace() })
    }

    /// Refuses a model that will not fit before any of it is loaded, and makes the room that its ops share.
    fn take_memory(device: &dyn Device, folder: &ModelFolder, options: &LoadOptions) -> Result<()> {
        let Some(plan) = device.plan() else { return Ok(()) };
        let plan = Self::plan(plan, folder, options)?;
        let wanted = plan.total();
        let free = device.free_bytes().unwrap_or(usize::MAX);
        if wanted <= free {
            return Ok(device.reserve(plan.workspace)?);
        }
        // Rounded apart, so that the two never look the same.
        let need = wanted.div_ceil(1 << 20);
        let have = free >> 20;
        let name = device.describe();
        let fewer = if options.batch > 1 { "answer fewer questions at a time with --batch, " } else { "" };
        let detail = format!(
            "the model and one volume take {need} MiB, but {have} MiB are free on {name}; \
             {fewer}close what uses it, or choose another with --device cuda:N or --device cpu"
        );
        Err(med2e3_kernels::Error::Unavailable { detail }.into())
    }

    /// Checks the folder, then makes its weights usable on the device and allocates every buffer.
    ///
    /// # Errors
    /// [`Error::Loaders`] with all that is missing or misshapen, [`Error::Device`] if memory does not suffice.
    pub fn load(
        device: Arc<dyn Device>,
        folder: &ModelFolder,
        options: &LoadOptions,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Self> {
        if !(1..=BATCH_MAX).contains(&options.batch) {
            let detail = format!("{} questions at a time, 1 to {BATCH_MAX} are possible", options.batch);
            return Err(Error::Request(detail));
        }
        let tokenizers = folder.check(check_options(options))?;
        Self::take_memory(&*device, folder, options)?;
        let config = folder.config.clone();
        let pages = options.batch * config.llm_max_length.div_ceil(PAGE_TOKENS);
        let loading = &mut Loading::new(&*device, folder, progress);
        let vision_3d = Vision3d::load(loading, &config)?;
        let connector_3d = load_connector_3d(loading, &config)?;
        let planes = load_planes(loading, &config, options.post_layernorm_2d)?;
        let aggregation = Aggregation::load(loading, &config, options.tgis, options.text_mlp)?;
        let needs_bert = aggregation.as_ref().is_some_and(Aggregation::needs_bert);
        let text_encoder = needs_bert.then(|| TextEncoder::load(loading, &config)).transpose()?;
        Ok(Self {
            id: ENGINES.fetch_add(1, Ordering::Relaxed),
            llm: Llm::load(loading, &config, pages)?,
            pages: Pages::new(pages),
            batch: options.batch,
            volume: device.tensor(&config.vision_3d.img_size, DType::F32)?,
            tokenizer: Arc::new(tokenizers.llm),
            bert_tokenizer: tokenizers.bert,
            vision_3d,
            connector_3d,
            planes,
            aggregation,
            text_encoder,
            config,
            device,
        })
    }

    /// Slices, height and width of the volumes it takes.
    pub fn img_size(&self) -> [usize; 3] {
        self.config.vision_3d.img_size
    }

    /// Slices per volume, N.
    pub fn slices(&self) -> usize {
        self.img_size()[0]
    }

    /// Where it runs.
    pub fn device(&self) -> &dyn Device {
        &*self.device
    }

    /// LLM tokens that stand for the image.
    pub fn image_tokens(&self) -> usize {
        self.config.rows_3d() + self.config.rows_2d()
    }

    /// Runs both vision encoders and their connectors: the question-independent part of every answer.
    ///
    /// `volume` is [`Engine::img_size`] voxels in [0, 1], as `med2e3_loaders::prepare` makes them; it never rounds past
    /// either end, so none is allowed here.
    ///
    /// # Errors
    /// [`Error::Request`] if the size differs or a voxel is not in that range; [`Error::Device`].
    pub fn encode(&mut self, volume: &[f32], progress: &mut dyn FnMut(Progress<'_>)) -> Result<EncodedVolume> {
        self.encode_traced(volume, None, progress)
    }

    /// As [`Engine::encode`], and records the encoders' tokens before the connectors.
    ///
    /// # Errors
    /// As [`Engine::encode`].
    pub fn encode_traced(
        &mut self,
        volume: &[f32],
        trace: Option<&mut Trace>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<EncodedVolume> {
        let img_size = self.img_size();
        check_volume(volume, img_size)?;
        let device = &*self.device;
        let recorder = &mut Recorder { device, trace };
        device.write(&mut self.volume, volume)?;
        let mut kept = device.tensor(&img_size, DType::F32)?;
        device.write(&mut kept, volume)?;
        let width = self.config.llm.hidden_size;
        self.vision_3d.encode(device, self.volume.view(), progress)?;
        recorder.record("vit_tokens", self.vision_3d.tokens())?;
        let mut z_3d = device.activations(&[self.config.rows_3d(), width])?;
        self.connector_3d.project(device, self.vision_3d.tokens(), z_3d.view_mut())?;
        let z_2d_slices = match &mut self.planes {
            Some(planes) => Some(planes.encode(&self.volume, width, recorder, progress)?),
            None => None,
        };
        let layers = img_size[0] / self.config.slices_per_layer();
        let keys = match (&self.aggregation, &z_2d_slices) {
            (Some(aggregation), Some(z_2d)) => aggregation.keys(device, z_3d.view(), z_2d.view(), layers)?,
            _ => None,
        };
        let id = VOLUMES.fetch_add(1, Ordering::Relaxed);
        Ok(EncodedVolume { engine: self.id, id, volume: kept, z_3d, z_2d_slices, keys })
    }
}

impl Planes {
    /// z_2D^j of all slices, `[slices, tokens, width]`.
    fn encode(
        &mut self,
        volume: &Tensor,
        width: usize,
        recorder: &mut Recorder<'_>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Tensor> {
        let device = recorder.device;
        let slices = volume.dims().as_slice()[0];
        let tokens = self.vision.tokens_per_slice() / self.connector.ratio();
        let mut z_2d = device.activations(&[slices, tokens, width])?;
        for first in (0..slices).step_by(SLICES_PER_PASS) {
            let last = slices.min(first + SLICES_PER_PASS);
            let encoded = self.vision.encode(device, volume.view().rows(first..last))?;
            recorder.record("siglip_tokens", encoded)?;
            let out = z_2d.view_mut().rows(first..last).reshape(&[(last - first) * tokens, width]);
            self.connector.project(device, encoded, out)?;
            progress(Progress { stage: "vision_2d", done: last as u64, total: slices as u64 });
        }
        Ok(z_2d)
    }
}

fn check_options(options: &LoadOptions) -> med2e3_loaders::CheckOptions {
    use crate::{TextMlp, TgisMode};
    let scored = options.tgis == TgisMode::Checkpoint;
    med2e3_loaders::CheckOptions {
        need_guide: scored,
        need_text_mlp: scored && options.text_mlp == TextMlp::Checkpoint,
    }
}

fn check_volume(volume: &[f32], img_size: [usize; 3]) -> Result<()> {
    let wanted = img_size.iter().product::<usize>();
    if volume.len() != wanted {
        let found = volume.len();
        return Err(Error::Request(format!(
            "the volume has {found} voxels, but the model takes {img_size:?}, which is {wanted}; prepare it for that"
        )));
    }
    match volume.iter().find(|voxel| !(0.0..=1.0).contains(*voxel)) {
        Some(voxel) => Err(Error::Request(format!(
            "the volume holds {voxel}, but the model takes intensities scaled to 0..1; prepare the scan first"
        ))),
        None => Ok(()),
    }
}

fn load_connector_3d(loading: &mut Loading<'_>, config: &ModelConfig) -> Result<Connector> {
    let grid = config.vision_3d.grid();
    let part = &loading.folder.connector_3d;
    let shape = Shape { pool: Some((grid, [2, 2, 2])), mlp: true, rows: grid.iter().product() };
    Connector::load(loading, part, &shape)
}

fn load_planes(loading: &mut Loading<'_>, config: &ModelConfig, post_norm: bool) -> Result<Option<Planes>> {
    let Some(vision) = Vision2d::load(loading, config, post_norm)? else { return Ok(None) };
    let Some(part) = &loading.folder.connector_2d else { return Ok(None) };
    let tokens = vision.tokens_per_slice();
    let side = tokens.isqrt();
    let pooled = config.connector_2d == Some(Connector2d::PlanePoolingMlp2xGelu);
    let shape = Shape {
        pool: pooled.then_some(([1, side, side], [1, 2, 2])),
        mlp: config.connector_2d != Some(Connector2d::Linear),
        rows: SLICES_PER_PASS.min(config.vision_3d.img_size[0]) * tokens,
    };
    Ok(Some(Planes { vision, connector: Connector::load(loading, part, &shape)? }))
}
