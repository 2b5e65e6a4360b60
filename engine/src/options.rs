//! What a caller may choose when a model is loaded, and how far work has come.
use crate::{Error, Result};
use med2e3_kernels::{DECODE_ROWS_MAX, DType};
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

/// The most questions at a time: a released model's cache takes 0.3 GB for each, so that more fit nowhere.
pub const BATCH_MAX: usize = 256;

/// The most volumes that stay encoded: 61 MB each for a released model on a GPU.
pub const VOLUMES_MAX: usize = 1024;

/// How the slices are weighed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TgisMode {
    /// As the checkpoint was trained: by the question, or by its learned scorer.
    #[default]
    Checkpoint,
    /// Every slice counts 1/N (paper, Table 4, AvgPooling).
    Uniform,
    /// The largest value over slices, element by element (paper, Table 4, MaxPooling); there are no scores.
    Max,
    /// Weights drawn uniformly from all that sum to 1, the same for every question; the number is the seed.
    Random(u64),
}

/// Where the projection of the question, `text_mlp`, comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TextMlp {
    /// The checkpoint: what was trained.
    #[default]
    Checkpoint,
    /// N(0, 0.02²) and bias 0, which the official script computes with since it never loads the trained one.
    Random(u64),
}

/// Choices made once, at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// How many questions are answered at the same time, 1 to [`BATCH_MAX`]; each takes room in the KV cache. More
    /// than [`med2e3_kernels::DECODE_ROWS_MAX`] take turns.
    pub batch: usize,
    /// Tokens in the KV cache, rounded up to pages of 64; where absent, the model's limit for each of `batch`
    /// questions, and one page.
    /// With fewer, questions wait for one another.
    pub cache_tokens: Option<usize>,
    /// How many volumes stay encoded, 1 to [`VOLUMES_MAX`]; each takes room on the device. The one that was used least
    /// recently and has no handle gives way to the next.
    pub volumes: usize,
    /// How many questions may wait for their turn; one more is [`crate::Error::Busy`].
    pub queue: usize,
    /// Rows of prompts that go through the language model together, at least the model's limit for one prompt; where
    /// absent, that limit for each of `batch` prompts, of two at most on a processor and of eleven on a GPU. Each takes
    /// room on the device.
    pub prompt_rows: Option<usize>,
    /// How long running answers wait for a part of a prompt or of a volume between two of their tokens: at most as long
    /// as so many decoding steps of one row would take, by an estimate, but for a single layer that takes longer. With
    /// 0 the parts are single layers: the steadiest answers, and the latest first tokens.
    pub unit_steps: u32,
    /// Threads of a pool of the engine's own for the processor's ops; where absent, they run on rayon's global one.
    pub threads: Option<NonZeroUsize>,
    /// How the slices are weighed.
    pub tgis: TgisMode,
    /// Where the projection of the question comes from.
    pub text_mlp: TextMlp,
    /// Whether SigLIP's last norm is applied, as transformers 4.57 and later do; the model was trained without it.
    pub post_layernorm_2d: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            batch: 1,
            cache_tokens: None,
            volumes: 4,
            queue: 1024,
            prompt_rows: None,
            unit_steps: 4,
            threads: None,
            tgis: TgisMode::default(),
            text_mlp: TextMlp::default(),
            post_layernorm_2d: false,
        }
    }
}

/// A long part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgressStage {
    /// Weights are made usable; in bytes.
    Load,
    /// The 3D encoder runs; in blocks.
    Vision3d,
    /// The 2D encoder runs; in slices.
    Vision2d,
    /// The language model reads a prompt; in layers.
    Prefill,
}

/// Prompts that go through the model together unless the caller says how many rows. On a processor two are enough to
/// keep its units busy, and more make it wait longer for the first answer; on a GPU eleven are the closed questions
/// about one volume.
const fn prompts_together(activation: DType) -> usize {
    if matches!(activation, DType::F32) { 2 } else { 11 }
}

impl LoadOptions {
    /// Rows of prompts that go together in a model that takes prompts of `limit` rows.
    ///
    /// # Errors
    /// [`Error::Request`] if the longest prompt does not fit.
    pub(crate) fn prompt_rows(&self, activation: DType, limit: usize) -> Result<usize> {
        match self.prompt_rows {
            None => Ok(limit.saturating_mul(self.batch.min(prompts_together(activation)))),
            // More rows than the most prompts of one pass have are never used.
            Some(rows) if rows >= limit => Ok(rows.min(limit.saturating_mul(DECODE_ROWS_MAX))),
            Some(rows) => Err(Error::Request(format!(
                "{rows} rows of prompts at a time, but a prompt of this model may have {limit}; give them room for that"
            ))),
        }
    }

    /// Refuses numbers that no engine has.
    pub(crate) fn check(&self) -> Result<()> {
        let Self { batch, volumes, queue, .. } = *self;
        if !(1..=BATCH_MAX).contains(&batch) {
            return Err(Error::Request(format!("{batch} questions at a time, 1 to {BATCH_MAX} are possible")));
        }
        if !(1..=VOLUMES_MAX).contains(&volumes) {
            return Err(Error::Request(format!("{volumes} encoded volumes, 1 to {VOLUMES_MAX} are possible")));
        }
        if queue == 0 {
            return Err(Error::Request("a queue of 0 questions takes none; give it room for 1 or more".into()));
        }
        Ok(())
    }
}

/// How far a long part of the work has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Which part.
    pub stage: ProgressStage,
    /// Work done so far, in the stage's own unit.
    pub done: u64,
    /// All of it.
    pub total: u64,
}

/// Who hears how far the work has come, and may break it off.
pub type OnProgress<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;
