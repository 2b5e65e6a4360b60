//! A model as the official code saves it: one folder with a configuration, tokenizers and five parts of weights.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::adapter;
use crate::checkpoint::Checkpoint;
use crate::config::{ConfigFiles, Guide, ModelConfig, SliceScoring};
use crate::error::{Error, Result};
use crate::expected::{Part, TensorSpec, expected_tensors};
use crate::preprocess_json;
use crate::tokenizer::{BertTokenizer, LlmTokenizer};
use crate::volume::Window;

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
    /// The window that it was trained with, where its `preprocess.json` says so.
    pub window: Option<Window>,
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

/// The tokenizers of a model that passed its check.
pub struct Tokenizers {
    /// The language model's.
    pub llm: LlmTokenizer,
    /// The text encoder's, where it is needed.
    pub bert: Option<BertTokenizer>,
}

impl ModelFolder {
    /// Opens a model folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder does not exist; those of [`ModelConfig::parse`], [`Checkpoint::open`] and
    /// [`preprocess_json::read`], and any trace of an adapter that is not merged: a file at any depth, or a tensor of
    /// any part.
    pub fn open(path: &Path) -> Result<Self> {
        let found = std::fs::metadata(path).map_err(|error| Error::io(path, "open", error))?;
        if !found.is_dir() {
            return Err(Error::bad_input(
                path,
                "is not a folder",
                "give the folder that holds args/, llm/ and the rest",
            ));
        }
        adapter::refuse_files(path)?;
        let window = preprocess_json::read(path)?;
        let mut config = ModelConfig::parse(&ConfigFiles::read(path)?)?;
        let open = |part: Part| {
            let folder = path.join(part.folder());
            let weights = Checkpoint::open(&folder)?;
            adapter::refuse_tensors(&folder, &weights).map(|()| weights)
        };
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
            window,
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

    /// Checks that everything a run needs is there: every tensor with its shape, and tokenizers whose ids have rows in
    /// the embedding tables. Answers the tokenizers, since it had to read them.
    ///
    /// # Errors
    /// One error that lists all that is missing, of another shape or of another vocabulary. Where `text_mlp` is missing
    /// (its training script may have dropped it), the error names the ways on.
    pub fn check(&self, options: CheckOptions) -> Result<Tokenizers> {
        let guided_by_bert = options.need_guide && self.config.scoring.is_guided_by(Guide::BertPooler);
        let specs = self.needed(options);
        self.refuse_renamed_and_empty(&specs)?;
        let mut faults = self.tensor_faults(&specs);
        let llm = LlmTokenizer::open(&self.path).map(|tokenizer| (tokenizer.vocab_size(), tokenizer));
        let llm = self.fitting("language model", llm, self.config.llm.vocab_size, &mut faults);
        let bert = if guided_by_bert {
            let bert = BertTokenizer::open(&self.path.join(Part::Vision3d.folder()));
            let bert = bert.map(|tokenizer| (tokenizer.vocab_size(), tokenizer));
            self.fitting("text encoder", bert, self.config.bert.vocab_size, &mut faults)
        } else {
            None
        };
        let text_mlp_missing = faults.iter().any(|fault| fault.contains("/text_mlp."));
        match llm {
            Some(llm) if faults.is_empty() => Ok(Tokenizers { llm, bert }),
            _ => {
                let finding = format!("does not fit its configuration: {}", listed(&faults));
                let remedy = if text_mlp_missing {
                    WITHOUT_TEXT_MLP
                } else {
                    "fetch the missing files, or correct the configuration"
                };
                Err(Error::bad_input(&self.path, finding, remedy))
            }
        }
    }

    /// The tensors that a run needs.
    fn needed(&self, options: CheckOptions) -> Vec<TensorSpec> {
        let needed = |spec: &TensorSpec| match spec.part {
            Part::Vision3d => options.need_guide || !spec.name.starts_with("language_encoder."),
            Part::Connector3d if spec.name.starts_with("text_mlp.") => options.need_guide && options.need_text_mlp,
            Part::Connector3d => options.need_guide || !spec.name.starts_with("scoring_module."),
            _ => true,
        };
        expected_tensors(&self.config).into_iter().filter(|spec| spec.required && needed(spec)).collect()
    }

    /// What a training framework did to every tensor of a part is one sentence, not one for each tensor.
    fn refuse_renamed_and_empty(&self, specs: &[TensorSpec]) -> Result<()> {
        for part in Part::ALL {
            let Some(checkpoint) = self.part(part) else { continue };
            let of_part = || specs.iter().filter(move |spec| spec.part == part);
            let is_placeholder = |spec: &TensorSpec| {
                let found = checkpoint.get(&spec.name).is_some_and(|tensor| tensor.shape.contains(&0));
                found && !spec.shape.contains(&0)
            };
            if let Some(spec) = of_part().find(|spec| is_placeholder(spec)) {
                let finding = format!(
                    "holds no values but placeholders ({} has none), as training with DeepSpeed ZeRO-3 saves them",
                    spec.name
                );
                let remedy =
                    "gather the weights with the zero_to_fp32.py beside the checkpoint, and put its file there";
                return Err(Error::bad_input(self.path.join(part.folder()), finding, remedy));
            }
            let missing: Vec<&TensorSpec> = of_part().filter(|spec| checkpoint.get(&spec.name).is_none()).collect();
            if let Some(prefix) = common_prefix(checkpoint, &missing) {
                let finding = format!("names its tensors {prefix}{} and so on", missing[0].name);
                let remedy = format!("save them again without {prefix:?} before every name");
                return Err(Error::bad_input(self.path.join(part.folder()), finding, remedy));
            }
        }
        Ok(())
    }

    /// What is wrong with the tensors that a run needs, each with its name.
    fn tensor_faults(&self, specs: &[TensorSpec]) -> Vec<String> {
        let faults = specs.iter().filter_map(|spec| {
            let checkpoint = self.part(spec.part)?;
            let other_type = || checkpoint.ignored().iter().find(|(name, _)| *name == spec.name);
            let fault = match checkpoint.get(&spec.name) {
                None => match other_type() {
                    Some((_, dtype)) => format!("is of type {dtype}, but only f32, f16 and bf16 are read"),
                    None => "is missing".to_string(),
                },
                Some(tensor) if tensor.shape != spec.shape => {
                    format!("has shape {:?} instead of {:?}", tensor.shape, spec.shape)
                }
                Some(_) => return None,
            };
            Some(format!("{}/{} {fault}", spec.part, spec.name))
        });
        faults.collect()
    }

    /// A tokenizer and its number of ids, unless it cannot be read or has an id without a row in the table.
    fn fitting<T>(&self, whose: &str, opened: Result<(usize, T)>, rows: usize, faults: &mut Vec<String>) -> Option<T> {
        match opened {
            Ok((ids, tokenizer)) if ids <= rows => return Some(tokenizer),
            Ok((ids, _)) => {
                faults.push(format!("the {whose}'s tokenizer has {ids} ids, but its embedding table {rows} rows"));
            }
            Err(Error::BadInput { path, finding, .. }) => {
                let path = path.strip_prefix(&self.path).unwrap_or(&path);
                let name = if path.as_os_str().is_empty() { "it".to_string() } else { path.display().to_string() };
                faults.push(format!("{name} {finding}"));
            }
            Err(error) => faults.push(error.to_string()),
        }
        None
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

/// What stands before the name of every tensor that seems to be missing, if it is the same everywhere: `module.`, as
/// PyTorch's wrappers for several GPUs add it.
fn common_prefix<'a>(checkpoint: &'a Checkpoint, missing: &[&TensorSpec]) -> Option<&'a str> {
    let first = missing.first()?;
    let before = |name: &'a str| name.strip_suffix(&first.name).filter(|prefix| prefix.ends_with('.'));
    let prefix = checkpoint.names().find_map(before)?;
    missing.iter().all(|spec| checkpoint.get(&format!("{prefix}{}", spec.name)).is_some()).then_some(prefix)
}

const WITHOUT_TEXT_MLP: &str = "text_mlp scores slices by the question: use a checkpoint that has it, or go on with \
    --tgis uniform (every slice counts the same) or --tgis-text-mlp random:SEED (what the official script computes)";

/// Buffers that some versions of the libraries save and that are computed anew, and SigLIP's own text half.
fn is_expendable(name: &str) -> bool {
    let computed = name.ends_with(".position_ids") || name.ends_with(".inv_freq");
    computed || name == "logit_scale" || name == "logit_bias" || name.starts_with("text_model.")
}

/// As many of `names` as leave room in a sentence for the rest of it, the first at least.
fn listed(names: &[String]) -> String {
    const CHARS_MAX: usize = 420;
    let mut chars = 0;
    let fits = |name: &&String| {
        chars += name.chars().count() + ", ".len();
        chars <= CHARS_MAX
    };
    let shown = names.iter().take_while(fits).count().max(1).min(names.len());
    match names.len() - shown {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..shown].join(", ")),
    }
}
