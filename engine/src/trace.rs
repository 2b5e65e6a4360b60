//! Stages of one request by the paper's names, for comparison with other implementations.
use crate::Result;
use med2e3_kernels::{Device, View};

/// One stage's values on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceTensor {
    /// The paper's name: `volume`, `z_3d`, `z_2d_slices`, `z_t`, `tgis_scores`, `z_2d`, `z_i`, `prompt_logits`; and
    /// between them `vit_tokens`, `siglip_tokens`, `bert_pooler`, `prompt_embeddings`, `llm_layer_0` and, of the last
    /// row, `llm_norm`.
    pub name: String,
    /// Its dims, slowest first.
    pub dims: Vec<usize>,
    /// Its elements as f32.
    pub values: Vec<f32>,
}

/// The order of the stages, as the paper has them: a prompt goes through the model in two parts.
const STAGES: [&str; 14] = [
    "vit_tokens",
    "siglip_tokens",
    "volume",
    "z_3d",
    "bert_pooler",
    "z_2d_slices",
    "z_t",
    "tgis_scores",
    "z_2d",
    "z_i",
    "prompt_embeddings",
    "llm_layer_0",
    "llm_norm",
    "prompt_logits",
];

/// All recorded stages, in the order of computation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The stages.
    pub tensors: Vec<TraceTensor>,
}

impl Trace {
    /// Puts the stages into their order.
    pub(crate) fn sort(&mut self) {
        self.tensors.sort_by_key(|tensor| STAGES.iter().position(|stage| *stage == tensor.name));
    }
}

/// Records into a trace, or nowhere.
pub(crate) struct Recorder<'a> {
    pub device: &'a dyn Device,
    pub trace: Option<&'a mut Trace>,
}

impl Recorder<'_> {
    /// Keeps a copy of the view under `name`; views recorded twice under one name are joined along the first dim.
    pub fn record(&mut self, name: &str, view: View<'_>) -> Result<()> {
        let Some(trace) = &mut self.trace else { return Ok(()) };
        let values = self.device.read(view)?;
        let dims = view.dims().as_slice().to_vec();
        match trace.tensors.iter_mut().find(|tensor| tensor.name == name) {
            Some(tensor) => {
                tensor.dims[0] += dims[0];
                tensor.values.extend(values);
            }
            None => trace.tensors.push(TraceTensor { name: name.into(), dims, values }),
        }
        Ok(())
    }
}
