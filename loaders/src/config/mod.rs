//! The model's configuration, parsed into types that hold only what the engine runs.
//!
//! `args/config.json` describes the whole model; `llm/config.json`, `vision2d_model/config.json` and
//! `vision3d_model/config.json` describe their parts again. A key may stand in either place; where it stands in both
//! with different values, neither wins: that is an error which names both.

mod bert;
mod connector;
mod keys;
mod llm;
mod vision;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use bert::{BertConfig, BertKeys};
pub use connector::{Connector2d, Guide, Scored, SliceScoring, scoring_connectors};
pub use llm::{LlmConfig, Rope};
pub use vision::{SiglipConfig, VitConfig};

use crate::error::{Error, Result};
use crate::files;
use keys::{Keys, Source};

/// Edge of the cube of 3D tokens, and of the square of 2D tokens, that a pooling connector averages.
pub const POOLING: usize = 2;
/// Longest config file read; the released ones are under 20 KB.
const CONFIG_BYTES_MAX: u64 = 2 << 20;

/// Everything about a model that is not a weight. Every size is positive and small enough that the bytes of any tensor
/// built from them fit a `u64`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The official code's number for how the two image branches are combined: 0 (3D only) or 4.
    pub exp_id: u32,
    /// The official name of the 3D connector.
    pub vision_3d_connector_type: String,
    /// How slices are scored.
    pub scoring: SliceScoring,
    /// The language model.
    pub llm: LlmConfig,
    /// Most rows (text tokens, image tokens and answer together) that the model was trained on.
    pub llm_max_length: usize,
    /// The 3D encoder.
    pub vision_3d: VitConfig,
    /// The 2D encoder; `None` exactly where `scoring` is `SliceScoring::None`.
    pub vision_2d: Option<SiglipConfig>,
    /// The 2D connector; `None` exactly where `scoring` is `SliceScoring::None`.
    pub connector_2d: Option<Connector2d>,
    /// The text encoder that guides scoring; used where the guide is `Guide::BertPooler`.
    pub bert: BertConfig,
    /// What the configuration itself says about the text encoder; the weights decide the rest.
    pub bert_keys: BertKeys,
}

/// The bytes of a model folder's configuration files.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles {
    /// The model's folder, for messages.
    pub root: PathBuf,
    /// `args/config.json`.
    pub args: Vec<u8>,
    /// `llm/config.json`.
    pub llm: Option<Vec<u8>>,
    /// `vision2d_model/config.json`.
    pub vision_2d: Option<Vec<u8>>,
    /// `vision3d_model/config.json`.
    pub vision_3d: Option<Vec<u8>>,
}

impl ConfigFiles {
    /// Reads the files of a model folder; only `args/config.json` must be there.
    pub fn read(root: &Path) -> Result<Self> {
        let optional = |name: &str| {
            let path = root.join(name);
            files::is_file(&path)?.then(|| files::read(&path, CONFIG_BYTES_MAX)).transpose()
        };
        let args = optional(ARGS)?.ok_or_else(|| {
            let remedy = "give the folder that the official code saved, with args/, llm/ and vision3d_model/ in it";
            Error::bad_input(root, format!("has no {ARGS}"), remedy)
        })?;
        let llm = optional(LLM)?;
        let vision_2d = optional(VISION_2D)?;
        let vision_3d = optional(VISION_3D)?;
        Ok(Self { root: root.to_path_buf(), args, llm, vision_2d, vision_3d })
    }
}

const ARGS: &str = "args/config.json";
const LLM: &str = "llm/config.json";
const VISION_2D: &str = "vision2d_model/config.json";
const VISION_3D: &str = "vision3d_model/config.json";

impl ModelConfig {
    /// Parses the files' bytes.
    ///
    /// # Errors
    /// JSON that cannot be read; a key that is missing, has the wrong type or an impossible size; one that asks for
    /// something that we do not run (the message names what we run); two files, or two keys, that contradict.
    pub fn parse(files: &ConfigFiles) -> Result<Self> {
        let args_path = files.root.join(ARGS);
        let args_object = object(&args_path, &files.args)?;
        let args = Keys::new(vec![Source::new(&args_path, "", &args_object)]);
        let llm_file = part(files, LLM, files.llm.as_deref())?;
        let vision_2d_file = part(files, VISION_2D, files.vision_2d.as_deref())?;
        let vision_3d_file = part(files, VISION_3D, files.vision_3d.as_deref())?;

        let exp_id = args.size("exp_id", None, 0..=1 << 20)? as u32;
        let vision_3d_connector_type = args.text("vision3d_connector_type", None)?.to_string();
        let scoring = connector::scoring(&args, exp_id, &vision_3d_connector_type)?;

        args.one_of("llm_type", &["phi3"], Some("phi3"))?;
        let llm = llm::parse(&args.part("llm_config", "llm_config.", llm_file.as_ref())?)?;
        args.one_of("vision3d_model_type", &["m3d"], Some("m3d"))?;
        let vision_3d_keys = args.part("vision3d_model_config", "vision3d_model_config.", vision_3d_file.as_ref())?;
        let vision_3d = vision::parse_3d(&args, &vision_3d_keys)?;
        let bert_keys = BertKeys::parse(&vision_3d_keys)?;
        let (vision_2d, connector_2d) = if scoring == SliceScoring::None {
            (None, None)
        } else {
            args.one_of("vision2d_model_type", &["siglip"], Some("siglip"))?;
            let keys = args.part("vision2d_model_config", "vision2d_model_config.", vision_2d_file.as_ref())?;
            (Some(vision::parse_2d(&args, &keys)?), Some(connector::parse_2d(&args)?))
        };
        let llm_max_length = args.size("llm_max_length", None, 1..=keys::POSITIONS_MAX)?;
        let bert = bert_keys.resolve(None);
        let config = Self {
            exp_id,
            vision_3d_connector_type,
            scoring,
            llm,
            llm_max_length,
            vision_3d,
            vision_2d,
            connector_2d,
            bert,
            bert_keys,
        };
        config.check_together(&args)?;
        config.check_bert(&args_path)?;
        Ok(config)
    }

    /// Checks the text encoder's heads, which no tensor shows, where the model uses it.
    pub(crate) fn check_bert(&self, path: &Path) -> Result<()> {
        let width = self.bert.hidden_size;
        let heads = self.bert.num_attention_heads;
        let declared = self.bert_keys.declares_heads() || width.is_multiple_of(64);
        if !self.scoring.is_guided_by(Guide::BertPooler) || (declared && width.is_multiple_of(heads)) {
            return Ok(());
        }
        let finding = format!("has a text encoder of width {width} without a number of heads that divides it");
        let remedy = format!("put num_attention_heads into language_model_config of {VISION_3D}");
        Err(Error::bad_input(path, finding, remedy))
    }

    /// Rows of the language model's input that the 3D branch fills.
    pub fn rows_3d(&self) -> usize {
        self.vision_3d.grid().iter().map(|side| side / POOLING).product()
    }

    /// Rows of the language model's input that the 2D branch fills, which is also its tokens per slice.
    pub fn rows_2d(&self) -> usize {
        match (&self.vision_2d, &self.connector_2d) {
            (Some(encoder), Some(Connector2d::PlanePoolingMlp2xGelu)) => (encoder.side() / POOLING).pow(2),
            (Some(encoder), Some(_)) => encoder.tokens(),
            _ => 0,
        }
    }

    /// Slices that share one layer of pooled 3D tokens.
    pub fn slices_per_layer(&self) -> usize {
        self.vision_3d.patch_size[0] * POOLING
    }

    /// What no single part can check: that the parts fit one another.
    fn check_together(&self, args: &Keys) -> Result<()> {
        if let (Some(encoder), Some(connector)) = (&self.vision_2d, self.connector_2d) {
            let [slices, rows, columns] = self.vision_3d.img_size;
            if [rows, columns] != [encoder.image_size; 2] {
                let finding = format!(
                    "has 3D img_size [{slices}, {rows}, {columns}], but image_size {} for the 2D encoder",
                    encoder.image_size
                );
                return Err(args.bad(finding, "give both the same rows and columns"));
            }
            if connector == Connector2d::PlanePoolingMlp2xGelu && encoder.side() % POOLING != 0 {
                let finding = format!("pools a grid of {0} x {0} 2D tokens, which is odd", encoder.side());
                return Err(args.bad(finding, "use vision2d_connector_type mlp2x_gelu"));
            }
            args.width("vision2d_connector_config", "input_dim", encoder.hidden_size)?;
            args.width("vision2d_connector_config", "output_dim", self.llm.hidden_size)?;
        }
        args.width("vision3d_connector_config", "input_dim", self.vision_3d.hidden_size)?;
        args.width("vision3d_connector_config", "output_dim", self.llm.hidden_size)?;
        if args.find("hidden_size")?.is_some() {
            let width = args.size("hidden_size", None, 1..=keys::WIDTH_MAX)?;
            if width != self.llm.hidden_size {
                let finding = format!("has hidden_size {width}, but its language model {}", self.llm.hidden_size);
                return Err(args.bad(finding, "use the language model's"));
            }
        }
        let image_rows = self.rows_3d() + self.rows_2d();
        if image_rows >= self.llm_max_length {
            let finding =
                format!("has llm_max_length {}, but the image alone takes {image_rows} rows", self.llm_max_length);
            return Err(args.bad(finding, "use a larger llm_max_length or fewer image tokens"));
        }
        if self.llm_max_length > self.llm.max_position_embeddings {
            let length = self.llm_max_length;
            let positions = self.llm.max_position_embeddings;
            let finding = format!("has llm_max_length {length}, but its language model {positions} positions");
            return Err(args.bad(finding, "use a smaller llm_max_length"));
        }
        if let Some(window) = self.llm.sliding_window.filter(|&window| window < self.llm_max_length) {
            let length = self.llm_max_length;
            let finding = format!("has a sliding_window of {window}, shorter than llm_max_length {length}");
            return Err(
                args.bad(finding, "use a model whose window spans its longest input: only full attention is run")
            );
        }
        Ok(())
    }
}

/// A part's own config file, parsed.
fn part(files: &ConfigFiles, name: &str, bytes: Option<&[u8]>) -> Result<Option<(PathBuf, Map<String, Value>)>> {
    let path = files.root.join(name);
    Ok(match bytes {
        Some(bytes) => {
            let object = object(&path, bytes)?;
            Some((path, object))
        }
        None => None,
    })
}

fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::bad_input(path, format!("is not a JSON object ({e})"), "fetch the file again"))
}
