//! Text-guided inter-slice scoring: which slices count, and their weighted sum (paper, Eq. 4 to 7).
use crate::Result;
use crate::options::{TextMlp, TgisMode};
use crate::trace::Recorder;
use crate::weights::{Affine, Loading};
use med2e3_kernels::ops::sample::philox;
use med2e3_kernels::ops::{Epilogue, SliceCombine, SliceKeys, SliceMax, TgisScores};
use med2e3_kernels::{DType, Device, Tensor, View, ViewMut};
use med2e3_loaders::ModelConfig;
use med2e3_loaders::config::{Guide, Scored, SliceScoring};

/// How the slices of this model are aggregated.
pub(crate) enum Aggregation {
    /// Scores depend on the volume, and on the question where the guide does.
    Scored(Box<Scorer>),
    /// Scores that depend on neither.
    Fixed(Tensor),
    /// No scores: element-wise maximum.
    Max,
}

/// Keys from the volume, a guide from the question or the checkpoint.
pub(crate) struct Scorer {
    scored: Scored,
    pub guide: GuideWeights,
    temperature: f32,
    scores: Tensor,
}

/// Where the guiding vector comes from.
pub(crate) enum GuideWeights {
    /// `text_mlp` of BERT's pooler: the released model.
    BertPooler { text_mlp: Box<Affine>, z_t: Tensor },
    /// The mean of the LLM's embeddings of the question: the paper.
    LlmMean { z_t: Tensor },
    /// A learned vector; its bias is the same for every slice, so the softmax cancels it.
    Linear { scorer: Tensor },
}

impl Aggregation {
    /// `None` for a model without the 2D branch.
    pub fn load(
        loading: &mut Loading<'_>,
        config: &ModelConfig,
        mode: TgisMode,
        text_mlp: TextMlp,
    ) -> Result<Option<Self>> {
        let SliceScoring::Guided { scored, guide, temperature } = config.scoring else { return Ok(None) };
        let device = loading.device;
        let slices = config.vision_3d.img_size[0];
        Ok(Some(match mode {
            TgisMode::Max => Self::Max,
            TgisMode::Uniform => Self::Fixed(fixed(device, &vec![1.0 / slices as f32; slices])?),
            TgisMode::Random(seed) => Self::Fixed(fixed(device, &random_weights(seed, slices))?),
            TgisMode::Checkpoint => {
                let guide = GuideWeights::load(loading, config, guide, text_mlp)?;
                let scores = device.tensor(&[slices], DType::F32)?;
                Self::Scored(Box::new(Scorer { scored, guide, temperature, scores }))
            }
        }))
    }

    /// Whether asking needs BERT.
    pub fn needs_bert(&self) -> bool {
        matches!(self, Self::Scored(scorer) if matches!(scorer.guide, GuideWeights::BertPooler { .. }))
    }

    /// The question-independent half: one key per slice into `keys`, `[slices, dim]`, where slices are scored.
    pub fn keys(
        &self,
        device: &dyn Device,
        z_3d: View<'_>,
        z_2d: View<'_>,
        layers: usize,
        keys: ViewMut<'_>,
    ) -> Result<()> {
        let Self::Scored(scorer) = self else { return Ok(()) };
        let &[tokens_3d, dim] = z_3d.dims().as_slice() else { unreachable!("z_3d is a matrix") };
        let layers = z_3d.reshape(&[layers, tokens_3d / layers, dim]);
        let (z_3d, z_2d_slices) = match scorer.scored {
            Scored::ThreeD => (Some(layers), None),
            Scored::TwoD => (None, Some(z_2d)),
            Scored::Both | Scored::AllThreeDAndSlice => (Some(layers), Some(z_2d)),
        };
        let whole_volume = scorer.scored == Scored::AllThreeDAndSlice;
        Ok(device.slice_keys(SliceKeys { z_3d, z_2d_slices, whole_volume, keys })?)
    }

    /// Scores the slices under the guide prepared before and writes z_2D into `out`, `[tokens, dim]`.
    pub fn combine(
        &mut self,
        device: &dyn Device,
        z_2d_slices: View<'_>,
        keys: Option<View<'_>>,
        out: ViewMut<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Vec<f32>>> {
        let scores = match self {
            Self::Max => {
                device.slice_max(SliceMax { z_2d_slices, out })?;
                return Ok(None);
            }
            Self::Fixed(scores) => scores.view(),
            Self::Scored(scorer) => {
                let guide = scorer.guide.vector();
                recorder.record("z_t", guide)?;
                let keys = keys.expect("scored volumes have keys");
                let temperature = scorer.temperature;
                let scores = scorer.scores.view_mut();
                device.tgis_scores(TgisScores { keys, guide, temperature, scores })?;
                scorer.scores.view()
            }
        };
        recorder.record("tgis_scores", scores)?;
        device.slice_combine(SliceCombine { z_2d_slices, scores, out })?;
        Ok(Some(device.read(scores)?))
    }
}

impl GuideWeights {
    fn load(loading: &mut Loading<'_>, config: &ModelConfig, guide: Guide, source: TextMlp) -> Result<Self> {
        let part = &loading.folder.connector_3d;
        let dim = config.llm.hidden_size;
        let device = loading.device;
        let z_t = || device.activations(&[1, dim]);
        Ok(match guide {
            Guide::LlmMean => Self::LlmMean { z_t: z_t()? },
            Guide::Linear => Self::Linear { scorer: loading.tensor(part, "scoring_module.weight")? },
            Guide::BertPooler => {
                let text_mlp = match source {
                    TextMlp::Checkpoint => loading.affine(part, "text_mlp")?,
                    TextMlp::Random(seed) => {
                        let width = config.bert.hidden_size;
                        let weight: Vec<f32> = (0..dim * width).map(|i| 0.02 * normal(seed, i as u64)).collect();
                        Affine {
                            weight: loading.computed(&[dim, width], &weight)?,
                            bias: loading.computed(&[dim], &vec![0.0; dim])?,
                        }
                    }
                };
                Self::BertPooler { text_mlp: Box::new(text_mlp), z_t: z_t()? }
            }
        })
    }

    /// Projects BERT's pooler output, `[1, BERT width]`, to z_T.
    pub fn project(&mut self, device: &dyn Device, pooled: View<'_>) -> Result<()> {
        if let Self::BertPooler { text_mlp, z_t } = self {
            device.linear(text_mlp.linear(pooled, Epilogue::None, z_t.view_mut()))?;
        }
        Ok(())
    }

    /// `[1, dim]`.
    pub fn vector(&self) -> View<'_> {
        match self {
            Self::BertPooler { z_t, .. } | Self::LlmMean { z_t } => z_t.view(),
            Self::Linear { scorer } => scorer.view(),
        }
    }
}

fn fixed(device: &dyn Device, scores: &[f32]) -> Result<Tensor> {
    let mut tensor = device.tensor(&[scores.len()], DType::F32)?;
    device.write(&mut tensor, scores)?;
    Ok(tensor)
}

/// A point drawn uniformly from the simplex: exponential variates over their sum.
fn random_weights(seed: u64, slices: usize) -> Vec<f32> {
    let exponential = |slice| -f64::from(1.0 - philox::uniform(seed, slice)).ln();
    let variates: Vec<f64> = (0..slices as u64).map(exponential).collect();
    let sum: f64 = variates.iter().sum();
    variates.iter().map(|variate| (variate / sum) as f32).collect()
}

/// Standard normal number `index` of a seed (Box and Muller).
fn normal(seed: u64, index: u64) -> f32 {
    let radius = (-2.0 * f64::from(1.0 - philox::uniform(seed, 2 * index)).ln()).sqrt();
    let angle = std::f64::consts::TAU * f64::from(philox::uniform(seed, 2 * index + 1));
    (radius * angle.cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::{normal, random_weights};

    #[test]
    fn random_weights_are_a_distribution_fixed_by_the_seed() {
        let weights = random_weights(7, 32);
        assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-6, "32 roundings of 2^-24 each");
        assert!(weights.iter().all(|&w| w > 0.0));
        assert_eq!(weights, random_weights(7, 32));
        assert_ne!(weights, random_weights(8, 32));
    }

    /// 40,000 draws: the mean's standard error is 0.005 and that of the variance 0.0071; four of each are allowed.
    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let draws: Vec<f64> = (0..40_000).map(|i| f64::from(normal(3, i))).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.0284, "variance {variance}");
    }
}
