//! What is in a model folder.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use med2e3_loaders::config::{Guide, ModelConfig, Scored, SliceScoring};
use med2e3_loaders::sentence::{escaped, sentence};
use med2e3_loaders::tokenizer::{BertTokenizer, LlmTokenizer};
use med2e3_loaders::volume::Window;
use med2e3_loaders::{CheckOptions, ModelFolder, Part};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::output;

use super::weights::{self, WeightsReport};

#[derive(Debug, Serialize)]
struct Report {
    path: String,
    exp_id: u32,
    connector_3d: String,
    variant: String,
    img_size: [usize; 3],
    max_tokens: usize,
    /// What scans are clipped to, where the folder says so.
    window: Option<Window>,
    parts: Vec<PartReport>,
    parameters: u64,
    bytes: u64,
    tokenizers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<WeightsReport>,
    warnings: Vec<String>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PartReport {
    part: &'static str,
    sizes: String,
    tensors: usize,
    parameters: u64,
    bytes: u64,
    dtypes: BTreeMap<String, usize>,
}

/// Prints what is in the folder, with `scan` what its weights are like. A folder that could not be run is reported in
/// full, and then an error.
pub fn inspect(path: &Path, scan: bool, json: bool) -> Result<()> {
    let folder = ModelFolder::open(path)?;
    let report = report(&folder, scan);
    if json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    match report.problems.first() {
        Some(problem) => Err(Failure::input(problem)),
        None => Ok(()),
    }
}

fn report(folder: &ModelFolder, scan: bool) -> Report {
    let config = &folder.config;
    let mut problems = Vec::new();
    if let Err(error) = folder.check(CheckOptions::default()) {
        problems.push(error.to_string());
    }
    let weights = scan.then(|| weights::scan(folder));
    problems.extend(weights.as_ref().and_then(|weights| weights.problem(folder)));
    let parts: Vec<PartReport> = Part::ALL.into_iter().filter_map(|part| part_report(folder, part)).collect();
    Report {
        path: folder.path.display().to_string(),
        exp_id: config.exp_id,
        connector_3d: config.vision_3d_connector_type.clone(),
        variant: variant(config.scoring),
        img_size: config.vision_3d.img_size,
        max_tokens: config.llm_max_length,
        window: folder.window,
        parameters: parts.iter().map(|part| part.parameters).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        parts,
        tokenizers: tokenizers(folder, &mut problems),
        weights,
        warnings: folder.warnings.iter().map(|warning| sentence(warning)).collect(),
        problems,
    }
}

fn part_report(folder: &ModelFolder, part: Part) -> Option<PartReport> {
    let weights = folder.part(part)?;
    let mut dtypes = BTreeMap::new();
    for (_, tensor) in weights.iter() {
        *dtypes.entry(tensor.dtype.to_string()).or_default() += 1;
    }
    Some(PartReport {
        part: part.folder(),
        sizes: sizes(&folder.config, part),
        tensors: weights.iter().count(),
        parameters: weights.iter().map(|(_, tensor)| tensor.elements() as u64).sum(),
        bytes: weights.total_bytes(),
        dtypes,
    })
}

fn sizes(config: &ModelConfig, part: Part) -> String {
    let llm = &config.llm;
    match part {
        Part::Llm => format!(
            "Phi-3, {} layers, hidden {}, {} heads of {}, {} rows of vocabulary",
            llm.num_hidden_layers, llm.hidden_size, llm.num_attention_heads, llm.head_dim, llm.vocab_size
        ),
        Part::Vision2d => config.vision_2d.as_ref().map_or_else(String::new, |c| {
            let layers = c.num_hidden_layers;
            let hidden = c.hidden_size;
            let patch = c.patch_size;
            format!("SigLIP, {layers} layers, hidden {hidden}, patch {patch}, {} tokens per slice", c.tokens())
        }),
        Part::Connector2d => format!("{} image rows", config.rows_2d()),
        Part::Vision3d => {
            let c = &config.vision_3d;
            let bert = &config.bert;
            let layers = c.num_layers;
            let hidden = c.hidden_size;
            let patch = c.patch_size;
            let vit = format!("ViT, {layers} layers, hidden {hidden}, patch {patch:?}, {} tokens", c.tokens());
            format!("{vit}; BERT, {} layers, hidden {}", bert.num_hidden_layers, bert.hidden_size)
        }
        Part::Connector3d => format!("{} image rows", config.rows_3d()),
    }
}

fn variant(scoring: SliceScoring) -> String {
    let SliceScoring::Guided { scored, guide, temperature } = scoring else {
        return "3D branch only, no slice scores".into();
    };
    let scored = match scored {
        Scored::ThreeD => "the 3D tokens of a slice's layer",
        Scored::TwoD => "a slice's 2D tokens",
        Scored::Both => "a slice's 2D tokens with the 3D tokens of its layer",
        Scored::AllThreeDAndSlice => "a slice's 2D tokens with all 3D tokens",
    };
    let guide = match guide {
        Guide::BertPooler => "BERT's reading of the question",
        Guide::LlmMean => "the mean of the LLM's embeddings of the question",
        Guide::Linear => "a learned vector, whatever the question",
    };
    format!("TG-IS: {scored}, compared with {guide}, temperature {temperature}")
}

/// Opens both tokenizers; one that does not open is a problem.
fn tokenizers(folder: &ModelFolder, problems: &mut Vec<String>) -> Vec<String> {
    let mut lines = Vec::new();
    match LlmTokenizer::open(&folder.path) {
        Ok(llm) => {
            let token = |id: Option<u32>| id.map_or("none".into(), |id| id.to_string());
            let bos = token(llm.adds_bos());
            let eos = token(llm.eos_token_id());
            lines.push(format!("LLM: {} tokens, begins texts with: {bos}, ends answers with: {eos}", llm.vocab_size()));
        }
        Err(error) => problems.push(error.to_string()),
    }
    if folder.config.scoring.is_guided_by(Guide::BertPooler) {
        match BertTokenizer::open(&folder.path.join(Part::Vision3d.folder())) {
            Ok(bert) => lines.push(format!("BERT: {} tokens", bert.vocab_size())),
            Err(error) => problems.push(error.to_string()),
        }
    }
    lines
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}", escaped(&report.path));
    let _ = writeln!(out, "  variant     exp_id {}, {}", report.exp_id, report.connector_3d);
    let _ = writeln!(out, "              {}", report.variant);
    let [slices, rows, columns] = report.img_size;
    let _ = writeln!(out, "  input       {slices} slices of {rows} x {columns}, at most {} tokens", report.max_tokens);
    if let Some(window) = report.window {
        let _ = writeln!(out, "  window      {} to {}", window.lo(), window.hi());
    }
    for part in &report.parts {
        let dtypes: Vec<String> = part.dtypes.iter().map(|(dtype, count)| format!("{count} {dtype}")).collect();
        let parameters = part.parameters;
        let bytes = megabytes(part.bytes);
        let _ =
            writeln!(out, "  {:<18} {:>13} parameters {bytes:>9.1} MB  {}", part.part, parameters, dtypes.join(", "));
        let _ = writeln!(out, "  {:<18} {}", "", part.sizes);
    }
    let parameters = report.parameters;
    let bytes = megabytes(report.bytes);
    let _ = writeln!(out, "  {:<18} {parameters:>13} parameters {bytes:>9.1} MB", "total");
    if let Some(weights) = &report.weights {
        weights.write(&mut out);
    }
    let labelled = [("tokenizer", &report.tokenizers), ("warning", &report.warnings), ("problem", &report.problems)];
    for (label, lines) in labelled {
        for line in lines {
            let _ = writeln!(out, "  {label:<11} {}", escaped(line));
        }
    }
    out
}
