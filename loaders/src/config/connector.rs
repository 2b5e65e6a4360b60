//! The connectors: how image features become rows of the language model's input, and how slices are scored.

use crate::error::Result;

use super::keys::Keys;

/// What maps 2D tokens to the language model's width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connector2d {
    /// Two linear layers with an erf GELU between them.
    Mlp2xGelu,
    /// Average pooling of 2 x 2 tokens, then the same.
    PlanePoolingMlp2xGelu,
    /// One linear layer.
    Linear,
}

/// How the slices' features are weighted: text-guided inter-slice scoring (TG-IS) in all its variants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SliceScoring {
    /// No 2D branch at all.
    None,
    /// score of slice j = softmax over slices of (mean of its tokens . guide) / temperature.
    Guided {
        /// Which tokens stand for a slice.
        scored: Scored,
        /// What they are compared with.
        guide: Guide,
        /// Divides the scores before the softmax.
        temperature: f32,
    },
}

impl SliceScoring {
    /// Whether `guide` is what scores the slices.
    pub fn is_guided_by(&self, wanted: Guide) -> bool {
        matches!(self, Self::Guided { guide, .. } if *guide == wanted)
    }
}

/// Which tokens stand for a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scored {
    /// The pooled 3D tokens of the slice's layer.
    ThreeD,
    /// The slice's 2D tokens.
    TwoD,
    /// Both, as one set of tokens.
    Both,
    /// Every pooled 3D token of the volume, and the slice's 2D tokens, as one set.
    AllThreeDAndSlice,
}

/// What a slice's mean token is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guide {
    /// `text_mlp` of the pooler output of M3D-CLIP's BERT for the question.
    BertPooler,
    /// The mean of the language model's embeddings of the question.
    LlmMean,
    /// A learned vector and bias (`scoring_module`): no text.
    Linear,
}

/// Official connector names, and what they score by: the released one first.
const SCORING: [(&str, Scored, Guide, f32); 8] = [
    ("spatial_pooling_score15_mlp2x_gelu", Scored::Both, Guide::BertPooler, 5.0),
    ("spatial_pooling_score6_mlp2x_gelu", Scored::Both, Guide::LlmMean, 1.0),
    ("spatial_pooling_score9_mlp2x_gelu", Scored::Both, Guide::Linear, 1.0),
    ("spatial_pooling_score10_mlp2x_gelu", Scored::ThreeD, Guide::BertPooler, 5.0),
    ("spatial_pooling_score11_mlp2x_gelu", Scored::TwoD, Guide::BertPooler, 5.0),
    ("spatial_pooling_score12_mlp2x_gelu", Scored::AllThreeDAndSlice, Guide::LlmMean, 1.0),
    ("spatial_pooling_score13_mlp2x_gelu", Scored::ThreeD, Guide::Linear, 1.0),
    ("spatial_pooling_score14_mlp2x_gelu", Scored::TwoD, Guide::Linear, 1.0),
];
/// The official names of the 3D connectors that score slices, the released one first.
pub fn scoring_connectors() -> impl Iterator<Item = &'static str> {
    SCORING.iter().map(|(name, ..)| *name)
}

const THREE_D_ONLY: &str = "spatial_pooling_mlp2x_gelu";

pub(super) fn scoring(args: &Keys, exp_id: u32, connector: &str) -> Result<SliceScoring> {
    let refuse = |key, wanted: &str| match args.find(key) {
        Ok(Some(found)) => found.refuse(wanted),
        Ok(None) => args.bad(format!("lacks {key}"), "add it"),
        Err(error) => error,
    };
    match exp_id {
        0 if connector == THREE_D_ONLY => Ok(SliceScoring::None),
        0 => Err(refuse("vision3d_connector_type", &format!("{THREE_D_ONLY} with exp_id 0"))),
        4 => {
            let row = SCORING.iter().find(|(name, ..)| *name == connector).ok_or_else(|| {
                let names: Vec<&str> = SCORING.iter().map(|(name, ..)| *name).collect();
                refuse("vision3d_connector_type", &format!("with exp_id 4: {}", names.join(", ")))
            })?;
            let &(_, scored, guide, temperature) = row;
            Ok(SliceScoring::Guided { scored, guide, temperature })
        }
        _ => Err(refuse("exp_id", "0 (3D only) and 4 (slices scored)")),
    }
}

pub(super) fn parse_2d(args: &Keys) -> Result<Connector2d> {
    let connectors = [
        ("mlp2x_gelu", Connector2d::Mlp2xGelu),
        ("plane_pooling_mlp2x_gelu", Connector2d::PlanePoolingMlp2xGelu),
        ("linear", Connector2d::Linear),
    ];
    let name = args.text("vision2d_connector_type", None)?;
    args.one_of("vision2d_connector_type", &connectors.map(|(name, _)| name), None)?;
    let known = connectors.iter().find(|(known, _)| *known == name);
    Ok(known.map_or(Connector2d::Mlp2xGelu, |(_, connector)| *connector))
}
