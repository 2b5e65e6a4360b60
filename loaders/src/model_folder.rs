//! A model as the official code saves it: one folder with a configuration, tokenizers and five parts of weights.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::config::{ConfigFiles, Guide, ModelConfig, SliceScoring};
use crate::error::{Error, Result};
use crate::expected::{Part, TensorSpec, expected_tensors};

/// An opened model folder: nothing is read yet but configuration and tables of tensors.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The folder.
    pub path: PathBuf,
    /// Its configuration, with the text encoder's sizes taken from the weights.
    pub config: ModelConfig,
    /// The language model.
    pub llm: Checkpoint,
    /// SigLIP; `None` exactly where the configuration has no 2D branch.
    pub vision_2d: Option<Checkpoint>,
    /// The 2D connector; `None` exactly where the configuration has no 2D branch.
    pub connector_2d: Option<Checkpoint>,
    /// The 3D encoder and the text encoder.
    pub vision_3d: Checkpoint,
    /// The 3D connector, and what scores the slices.
    pub connector_3d: Checkpoint,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// What a run will need of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckOptions {
    /// Slices are scored as the checkpoint says: false under `--tgis uniform`, `max` and `random:SEED`.
    pub need_guide: bool,
    /// `text_mlp` comes from the checkpoint: false under `--tgis-text-mlp random:SEED`.
    pub need_text_mlp: bool,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { need_guide: true, need_text_mlp: true }
    }
}

impl ModelFolder {
    /// Opens a model folder.
    ///
    /// # Errors
    /// Those of [`ModelConfig::parse`] and [`Checkpoint::open`], and a folder with an adapter that is not merged.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            return Err(Error::bad_input(
                path,
                "is not a folder",
                "give the folder that holds args/, llm/ and the rest",
            ));
        }
        let adapter = path.join("adapter_config.json");
        if adapter.exists() {
            let remedy = "merge it into llm/ first (peft's merge_and_unload) and remove this file";
            return Err(Error::bad_input(adapter, "belongs to a LoRA adapter, which is not applied", remedy));
        }
        let mut config = ModelConfig::parse(&ConfigFiles::read(path)?)?;
        let open = |part: Part| Checkpoint::open(&path.join(part.folder()));
        let two_d = config.scoring != SliceScoring::None;
        let vision_3d = open(Part::Vision3d)?;
        config.bert = config.bert_keys.resolve(Some(&vision_3d));
        config.check_bert(path)?;
        let mut folder = Self {
            path: path.to_path_buf(),
            config,
            llm: open(Part::Llm)?,
            vision_2d: two_d.then(|| open(Part::Vision2d)).transpose()?,
            connector_2d: two_d.then(|| open(Part::Connector2d)).transpose()?,
            vision_3d,
            connector_3d: open(Part::Connector3d)?,
            warnings: Vec::new(),
        };
        folder.warnings = folder.extras();
        Ok(folder)
    }

    /// The weights of a part, where the configuration has it.
    pub fn part(&self, part: Part) -> Option<&Checkpoint> {
        match part {
            Part::Llm => Some(&self.llm),
            Part::Vision2d => self.vision_2d.as_ref(),
            Part::Connector2d => self.connector_2d.as_ref(),
            Part::Vision3d => Some(&self.vision_3d),
            Part::Connector3d => Some(&self.connector_3d),
        }
    }

    /// Checks that everything a run needs is there: every tensor with its shape, and the tokenizers.
    ///
    /// # Errors
    /// One error that lists all that is missing or of another shape. A checkpoint that lacks nothing but `text_mlp`
    /// (the official script may save one so) gets an error of its own, which names the ways on.
    pub fn check(&self, options: CheckOptions) -> Result<()> {
        let guided_by_bert = options.need_guide && self.config.scoring.is_guided_by(Guide::BertPooler);
        let mut faults = Vec::new();
        let mut text_mlp_missing = false;
        for spec in expected_tensors(&self.config).iter().filter(|spec| spec.required) {
            let skipped = match spec.part {
                Part::Vision3d => !guided_by_bert && spec.name.starts_with("language_encoder."),
                Part::Connector3d if spec.name.starts_with("text_mlp.") => !guided_by_bert || !options.need_text_mlp,
                Part::Connector3d => !options.need_guide && spec.name.starts_with("scoring_module."),
                _ => false,
            };
            let Some(fault) = self.fault(spec).filter(|_| !skipped) else { continue };
            if spec.name.starts_with("text_mlp.") && fault == MISSING {
                text_mlp_missing = true;
            }
            faults.push(format!("{}/{} {fault}", spec.part, spec.name));
        }
        self.check_tokenizers(guided_by_bert, &mut faults);
        if faults.is_empty() {
            return Ok(());
        }
        let only_text_mlp = text_mlp_missing && faults.iter().all(|fault| fault.contains("/text_mlp."));
        if only_text_mlp {
            let finding = format!(
                "has no text_mlp in {}, which its connector {} needs to score slices by the question",
                Part::Connector3d,
                self.config.vision_3d_connector_type
            );
            let remedy = "use a checkpoint that has it, or go on with --tgis uniform (every slice counts the same) or \
                          --tgis-text-mlp random:SEED (what the official inference script computes)";
            return Err(Error::bad_input(&self.path, finding, remedy));
        }
        let finding = format!("does not fit its configuration: {}", faults.join(", "));
        Err(Error::bad_input(&self.path, finding, "fetch the missing files, or correct args/config.json"))
    }

    fn fault(&self, spec: &TensorSpec) -> Option<String> {
        match self.part(spec.part)?.get(&spec.name) {
            None => Some(MISSING.to_string()),
            Some(tensor) if tensor.shape != spec.shape => {
                Some(format!("has shape {:?} instead of {:?}", tensor.shape, spec.shape))
            }
            Some(_) => None,
        }
    }

    fn check_tokenizers(&self, guided_by_bert: bool, faults: &mut Vec<String>) {
        let has = |name: &str| self.path.join(name).is_file();
        if !has("tokenizer.json") && !has("tokenizer.model") {
            faults.push("tokenizer.json or tokenizer.model is missing".into());
        }
        let bert = Part::Vision3d;
        if guided_by_bert && !has(&format!("{bert}/tokenizer.json")) && !has(&format!("{bert}/vocab.txt")) {
            faults.push(format!("{bert}/vocab.txt (or {bert}/tokenizer.json), BERT's vocabulary, is missing"));
        }
    }

    /// A warning that lists the tensors that no part of this model knows, and one for types that are not loaded.
    fn extras(&self) -> Vec<String> {
        let specs = expected_tensors(&self.config);
        let known: HashSet<(Part, &str)> = specs.iter().map(|spec| (spec.part, spec.name.as_str())).collect();
        let mut unknown = Vec::new();
        let mut ignored = Vec::new();
        for part in Part::ALL {
            let Some(checkpoint) = self.part(part) else { continue };
            let names = checkpoint.names().filter(|name| !known.contains(&(part, *name)) && !is_expendable(name));
            unknown.extend(names.map(|name| format!("{part}/{name}")));
            let types = checkpoint.ignored().iter().filter(|(name, _)| !is_expendable(name));
            ignored.extend(types.map(|(name, dtype)| format!("{part}/{name} ({dtype})")));
        }
        let mut warnings = Vec::new();
        if !unknown.is_empty() {
            warnings.push(format!("unknown tensors, ignored: {}", listed(&unknown)));
        }
        if !ignored.is_empty() {
            warnings.push(format!("tensors of a type other than f32, f16, bf16, ignored: {}", listed(&ignored)));
        }
        warnings
    }
}

const MISSING: &str = "is missing";

/// Buffers that some versions of the libraries save and that are computed anew, and SigLIP's own text half.
fn is_expendable(name: &str) -> bool {
    let computed = name.ends_with(".position_ids") || name.ends_with(".inv_freq");
    computed || name == "logit_scale" || name == "logit_bias" || name.starts_with("text_model.")
}

/// At most 20 names, for a line that can be read.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
