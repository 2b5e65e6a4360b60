//! What a caller may choose when a model is loaded.

/// The most questions at a time: a released model's cache takes 0.3 GB for each, so that more fit nowhere.
pub const BATCH_MAX: usize = 256;

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
    /// How many questions are answered at the same time, 1 to [`BATCH_MAX`]; each takes room in the KV cache.
    pub batch: usize,
    /// How the slices are weighed.
    pub tgis: TgisMode,
    /// Where the projection of the question comes from.
    pub text_mlp: TextMlp,
    /// Whether SigLIP's last norm is applied, as transformers 4.57 and later do; the model was trained without it.
    pub post_layernorm_2d: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { batch: 1, tgis: TgisMode::default(), text_mlp: TextMlp::default(), post_layernorm_2d: false }
    }
}

/// How far a long step has come.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// `load`, `vision_3d`, `vision_2d` or `prefill`.
    pub stage: &'a str,
    /// Work done so far, in the stage's own unit (bytes, blocks, slices or layers).
    pub done: u64,
    /// All of it.
    pub total: u64,
}
