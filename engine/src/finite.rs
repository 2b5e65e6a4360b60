//! Which part of the model first gave NaN or infinity. Looked for when an answer has failed, and never before: that an
//! answer fails shows in the scores and token ids that are read anyway.
use crate::model::{Features, Model};
use crate::tgis::{Aggregation, GuideWeights};
use crate::vision_2d::SLICES_PER_PASS;
use crate::{Error, Result};
use med2e3_kernels::{Device, View};
use std::fmt;

/// A part of the model, in the order of computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The 3D ViT.
    Vision3d,
    /// The 3D connector.
    Connector3d,
    /// SigLIP.
    Vision2d,
    /// The 2D connector.
    Connector2d,
    /// The slices' keys, from finite 3D and 2D tokens.
    SliceKeys,
    /// BERT, which reads the question.
    TextEncoder,
    /// The projection of what BERT read.
    TextMlp,
    /// The mean of the language model's embeddings of the question.
    QuestionEmbeddings,
    /// The learned vector of the variants without text.
    ScoringModule,
    /// The slices' scores, from finite keys and a finite guide.
    SliceScores,
    /// The language model, in the logits that this token of the answer is chosen from; the first is 1.
    Logits {
        /// Which token.
        token: usize,
    },
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Vision3d => "vision_3d, the 3D encoder (vision3d_model/)",
            Stage::Connector3d => "the 3D connector (vision3d_connector/)",
            Stage::Vision2d => "vision_2d, the 2D encoder (vision2d_model/)",
            Stage::Connector2d => "the 2D connector (vision2d_connector/)",
            Stage::SliceKeys => "slice_keys, the means of each slice's tokens",
            Stage::TextEncoder => "BERT, which reads the question (vision3d_model/)",
            Stage::TextMlp => "text_mlp (vision3d_connector/)",
            Stage::QuestionEmbeddings => "the language model's embeddings of the question (llm/)",
            Stage::ScoringModule => "scoring_module (vision3d_connector/)",
            Stage::SliceScores => "tgis_scores, the slices' scores",
            Stage::Logits { token } => return write!(f, "the language model (llm/), at token {token} of the answer,"),
        })
    }
}

/// Whether all are numbers.
pub(crate) fn finite(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// Whether a view holds neither NaN nor infinities.
fn is_finite(device: &dyn Device, view: View<'_>) -> Result<bool> {
    Ok(finite(&device.read(view)?))
}

/// Refuses slice scores that are not finite.
pub(crate) fn check_scores(scores: Option<&[f32]>) -> Result<()> {
    match scores {
        Some(scores) if !finite(scores) => Err(Error::NonFinite { stage: Stage::SliceScores }),
        _ => Ok(()),
    }
}

/// The id that was chosen for token number `token` of an answer.
pub(crate) fn check_id(id: u32, token: usize) -> Result<u32> {
    if id == med2e3_kernels::NON_FINITE { Err(Error::NonFinite { stage: Stage::Logits { token } }) } else { Ok(id) }
}

impl Model {
    /// The error with the first stage that went wrong, for a question about the volume in `place` that has just failed
    /// before its second token; any other error as it is. Runs the encoders once more where the volume's tokens are not
    /// finite.
    pub(crate) fn located(&mut self, error: Error, place: usize) -> Error {
        let found = match error {
            Error::NonFinite { stage: stage @ (Stage::SliceScores | Stage::Logits { token: 1 }) } => stage,
            other => return other,
        };
        match self.first_stage(found, place) {
            Ok(stage) => Error::NonFinite { stage },
            Err(error) => error,
        }
    }

    fn first_stage(&mut self, found: Stage, place: usize) -> Result<Stage> {
        let device = self.device.clone();
        let device = &*device;
        let volume = &self.volumes[place];
        if !is_finite(device, volume.z_3d.view())? {
            self.vision_3d.begin(device, volume.volume.view())?;
            self.vision_3d.run(device, 0..self.vision_3d.depth(), &mut |_| ())?;
            let sound = is_finite(device, self.vision_3d.tokens())?;
            return Ok(if sound { Stage::Connector3d } else { Stage::Vision3d });
        }
        if let Some(z_2d_slices) = &volume.z_2d_slices
            && !is_finite(device, z_2d_slices.view())?
        {
            let sound = self.vision_2d_is_finite(device, place)?;
            return Ok(if sound { Stage::Connector2d } else { Stage::Vision2d });
        }
        if let Some(keys) = &volume.keys
            && !is_finite(device, keys.view())?
        {
            return Ok(Stage::SliceKeys);
        }
        if found == Stage::SliceScores { self.first_stage_of_guide(device) } else { Ok(found) }
    }

    /// Whether SigLIP's tokens of all slices are finite.
    fn vision_2d_is_finite(&mut self, device: &dyn Device, place: usize) -> Result<bool> {
        let volume: &Features = &self.volumes[place];
        let Some(planes) = &mut self.planes else { return Ok(true) };
        let slices = volume.volume.dims().as_slice()[0];
        for first in (0..slices).step_by(SLICES_PER_PASS) {
            let last = slices.min(first + SLICES_PER_PASS);
            planes.vision.begin(device, volume.volume.view().rows(first..last))?;
            planes.vision.run(device, last - first, 0..planes.vision.depth())?;
            let tokens = planes.vision.finish(device, last - first)?;
            if !is_finite(device, tokens)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What of the last question's guide is not finite, or else the scores themselves.
    fn first_stage_of_guide(&self, device: &dyn Device) -> Result<Stage> {
        let Some(Aggregation::Scored(scorer)) = &self.aggregation else { return Ok(Stage::SliceScores) };
        if let Some(encoder) = &self.text_encoder
            && !is_finite(device, encoder.pooled())?
        {
            return Ok(Stage::TextEncoder);
        }
        Ok(match &scorer.guide {
            guide if is_finite(device, guide.vector())? => Stage::SliceScores,
            GuideWeights::BertPooler { .. } => Stage::TextMlp,
            GuideWeights::LlmMean { .. } => Stage::QuestionEmbeddings,
            GuideWeights::Linear { .. } => Stage::ScoringModule,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_ids_are_refused_by_what_they_say() {
        assert!(check_scores(None).is_ok() && check_scores(Some(&[0.5, 0.5])).is_ok());
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(check_scores(Some(&[0.5, bad])).is_err(), "{bad}");
        }
        assert!(matches!(check_id(31_999, 1), Ok(31_999)));
        let said = check_id(med2e3_kernels::NON_FINITE, 20).expect_err("no id").to_string();
        assert!(
            said.starts_with("the language model (llm/), at token 20 of the answer, gives NaN or infinity"),
            "{said}"
        );
    }
}
