//! One model on one device, as the one thread that runs it has it.
use crate::connector::{Connector, Shape};
use crate::facts::Facts;
use crate::kv::Pages;
use crate::llm::Llm;
use crate::text_encoder::TextEncoder;
use crate::tgis::Aggregation;
use crate::trace::{Recorder, Trace};
use crate::units::Units;
use crate::vision_2d::{SLICES_PER_PASS, Vision2d};
use crate::vision_3d::Vision3d;
use crate::weights::Loading;
use crate::{LoadOptions, OnProgress, Progress, ProgressStage, Result};
use med2e3_kernels::{DType, Device, PAGE_TOKENS, Plan, Tensor};
use med2e3_loaders::config::Connector2d;
use med2e3_loaders::{ModelConfig, ModelFolder};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

/// A loaded model with all its buffers.
pub(crate) struct Model {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) facts: Arc<Facts>,
    pub(crate) vision_3d: Vision3d,
    connector_3d: Connector,
    pub(crate) planes: Option<Planes>,
    pub(crate) aggregation: Option<Aggregation>,
    pub(crate) text_encoder: Option<TextEncoder>,
    pub(crate) llm: Llm,
    /// Who holds which page of the LLM's cache.
    pub(crate) pages: Pages,
    /// The volumes that stay encoded.
    pub(crate) volumes: Vec<Features>,
    /// How long a unit of work may be.
    pub(crate) units: Units,
}

/// The 2D branch.
pub(crate) struct Planes {
    pub vision: Vision2d,
    connector: Connector,
}

/// Everything about a volume that no question changes, on the device.
pub(crate) struct Features {
    /// `[slices, height, width]`, f32.
    pub volume: Tensor,
    /// `[3D tokens, LLM width]`, activations.
    pub z_3d: Tensor,
    /// `[slices, tokens of a slice, LLM width]`, activations.
    pub z_2d_slices: Option<Tensor>,
    /// `[slices, LLM width]`, f32: what TG-IS scores.
    pub keys: Option<Tensor>,
}

impl Features {
    /// Device memory behind it.
    fn bytes(&self) -> usize {
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
    /// What each volume takes that stays encoded.
    pub volume: usize,
    /// How many do, [`LoadOptions::volumes`].
    pub volumes: usize,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> usize {
        self.weights + self.buffers + self.workspace + self.volumes * self.volume
    }
}

impl Model {
    /// What [`crate::Engine::load`] would take on a device like `plan`, to the byte, without loading.
    ///
    /// # Errors
    /// As [`crate::Engine::load`], but for lack of memory.
    pub fn plan(plan: Plan, folder: &ModelFolder, options: &LoadOptions) -> Result<MemoryPlan> {
        let plan = Arc::new(plan);
        let mut model = Self::load(plan.clone(), folder, options, &mut |_| ControlFlow::Continue(()))?;
        let volumes = model.volumes.len();
        let volume = model.volumes[0].bytes();
        model.encode_whole(0)?;
        model.llm.rehearse(&*plan)?;
        let buffers = plan.buffers() - volumes * volume;
        Ok(MemoryPlan { weights: plan.weights(), buffers, workspace: plan.workspace(), volume, volumes })
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
        let volumes = if plan.volumes == 1 { "one volume".to_owned() } else { format!("{} volumes", plan.volumes) };
        let detail = format!(
            "the model and {volumes} take {need} MiB, but {have} MiB are free on {name}; \
             {fewer}close what uses it, or choose another with --device cuda:N or --device cpu"
        );
        Err(med2e3_kernels::Error::Unavailable { detail }.into())
    }

    /// Checks the folder, then makes its weights usable on the device and allocates every buffer.
    pub fn load(
        device: Arc<dyn Device>,
        folder: &ModelFolder,
        options: &LoadOptions,
        progress: OnProgress<'_>,
    ) -> Result<Self> {
        options.check()?;
        let tokenizers = folder.check(check_options(options))?;
        Self::take_memory(&*device, folder, options)?;
        let config = folder.config.clone();
        // One page more than answers take: options that are scored copy the prompt's last one.
        let whole = options.batch * config.llm_max_length.next_multiple_of(PAGE_TOKENS) + PAGE_TOKENS;
        let tokens = options.cache_tokens.unwrap_or(whole);
        let pages = tokens.div_ceil(PAGE_TOKENS).max(1);
        let loading = &mut Loading::new(&*device, folder, progress);
        let vision_3d = Vision3d::load(loading, &config)?;
        let connector_3d = load_connector_3d(loading, &config)?;
        let planes = load_planes(loading, &config, options.post_layernorm_2d)?;
        let aggregation = Aggregation::load(loading, &config, options.tgis, options.text_mlp)?;
        let needs_bert = aggregation.as_ref().is_some_and(Aggregation::needs_bert);
        let text_encoder = needs_bert.then(|| TextEncoder::load(loading, &config)).transpose()?;
        let prompt_rows = options.prompt_rows(device.activation(), config.llm_max_length)?;
        let llm = Llm::load(loading, &config, pages, prompt_rows)?;
        let facts = Facts::new(config, tokenizers, aggregation.as_ref(), text_encoder.as_ref(), &llm);
        let units = Units::new(&*device, llm.step_bytes(), options.unit_steps);
        let mut model = Self {
            units,
            facts: Arc::new(facts),
            llm,
            pages: Pages::new(pages),
            volumes: Vec::new(),
            vision_3d,
            connector_3d,
            planes,
            aggregation,
            text_encoder,
            device,
        };
        model.volumes = (0..options.volumes).map(|_| model.room_for_a_volume()).collect::<Result<_>>()?;
        Ok(model)
    }

    /// Room for what [`Model::encode`] leaves.
    fn room_for_a_volume(&self) -> Result<Features> {
        let config = &self.facts.config;
        let slices = config.vision_3d.img_size[0];
        let width = config.llm.hidden_size;
        let planes = self.planes.as_ref();
        let tokens = planes.map(|planes| planes.vision.tokens_per_slice() / planes.connector.ratio());
        let has_keys = planes.is_some() && matches!(self.aggregation, Some(Aggregation::Scored(_)));
        let device = &*self.device;
        Ok(Features {
            volume: device.tensor(&config.vision_3d.img_size, DType::F32)?,
            z_3d: device.activations(&[config.rows_3d(), width])?,
            z_2d_slices: tokens.map(|tokens| device.activations(&[slices, tokens, width])).transpose()?,
            keys: has_keys.then(|| device.tensor(&[slices, width], DType::F32)).transpose()?,
        })
    }

    /// Puts a volume's voxels into a place.
    pub fn place_volume(&mut self, place: usize, voxels: &[f32]) -> Result<()> {
        Ok(self.device.write(&mut self.volumes[place].volume, voxels)?)
    }

    /// Runs a unit of the encoders on a volume that is in its place; gives the next unit, or none after the last.
    pub fn encode(
        &mut self,
        place: usize,
        unit: EncodeUnit,
        trace: Option<&mut Trace>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Option<EncodeUnit>> {
        let device = &*self.device;
        let recorder = &mut Recorder { device, trace };
        let features = &mut self.volumes[place];
        let slices = features.volume.dims().as_slice()[0];
        let EncodeUnit { part, layer } = unit;
        match part {
            EncodePart::Volume => {
                let vision = &mut self.vision_3d;
                let end = vision.depth().min(layer + self.units.layers(vision.block_flops()));
                if layer == 0 {
                    vision.begin(device, features.volume.view())?;
                }
                vision.run(device, layer..end, progress)?;
                if end < vision.depth() {
                    return Ok(Some(EncodeUnit { part, layer: end }));
                }
                recorder.record("vit_tokens", vision.tokens())?;
                self.connector_3d.project(device, vision.tokens(), features.z_3d.view_mut())?;
                Ok(self.planes.is_some().then_some(EncodeUnit { part: EncodePart::Slices { first: 0 }, layer: 0 }))
            }
            EncodePart::Slices { first } => {
                let (Some(planes), Some(z_2d)) = (&mut self.planes, &mut features.z_2d_slices) else { return Ok(None) };
                let last = slices.min(first + SLICES_PER_PASS);
                let vision = &mut planes.vision;
                let end = vision.depth().min(layer + self.units.layers(vision.block_flops(last - first)));
                if layer == 0 {
                    vision.begin(device, features.volume.view().rows(first..last))?;
                }
                vision.run(device, last - first, layer..end)?;
                if end < vision.depth() {
                    return Ok(Some(EncodeUnit { part, layer: end }));
                }
                planes.finish(z_2d, first..last, recorder)?;
                progress(Progress { stage: ProgressStage::Vision2d, done: last as u64, total: slices as u64 });
                if last < slices {
                    return Ok(Some(EncodeUnit { part: EncodePart::Slices { first: last }, layer: 0 }));
                }
                let layers = slices / self.facts.config.slices_per_layer();
                if let (Some(aggregation), Some(keys)) = (&self.aggregation, &mut features.keys) {
                    aggregation.keys(device, features.z_3d.view(), z_2d.view(), layers, keys.view_mut())?;
                }
                Ok(None)
            }
        }
    }

    /// All units, one after the other.
    fn encode_whole(&mut self, place: usize) -> Result<()> {
        let mut next = Some(EncodeUnit::FIRST);
        while let Some(unit) = next {
            next = self.encode(place, unit, None, &mut |_| ())?;
        }
        Ok(())
    }
}

/// What of an encode runs at once: layers of one part, from `layer` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodeUnit {
    part: EncodePart,
    layer: usize,
}

impl EncodeUnit {
    /// The beginning.
    pub const FIRST: Self = Self { part: EncodePart::Volume, layer: 0 };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EncodePart {
    /// The 3D encoder, and its connector after the last layer.
    Volume,
    /// The 2D encoder over the slices from `first` on that one pass takes, and its connector; the keys after the last.
    Slices { first: usize },
}

impl Planes {
    /// z_2D^j of slices that the encoder has just run over, into their places in `[slices, tokens, width]`.
    fn finish(&mut self, z_2d: &mut Tensor, slices: Range<usize>, recorder: &mut Recorder<'_>) -> Result<()> {
        let device = recorder.device;
        let &[_, tokens, width] = z_2d.dims().as_slice() else { unreachable!("three dims") };
        let encoded = self.vision.finish(device, slices.len())?;
        recorder.record("siglip_tokens", encoded)?;
        let rows = slices.len() * tokens;
        let out = z_2d.view_mut().rows(slices).reshape(&[rows, width]);
        self.connector.project(device, encoded, out)
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
