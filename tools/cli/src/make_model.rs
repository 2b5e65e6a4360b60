//! `make-model`: a model with random weights in the official layout, for tests and timings.

mod preset;
mod random;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use med2e3_loaders::config::{ConfigFiles, scoring_connectors};
use med2e3_loaders::preprocess_json::PREPROCESS_JSON;
use med2e3_loaders::tokenizer;
use med2e3_loaders::volume::Window;
use med2e3_loaders::{DType, Declared, ModelConfig, Part, SafetensorsWriter, TensorSpec, expected_tensors};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::failure::{Failure, Result};
use crate::interrupt;
use crate::output::{self, Then};
use crate::progress::Bars;
pub use preset::Preset;
use preset::Vocabularies;
use random::{Distribution, Elements};

/// Write a model with random weights in the official layout
#[derive(Debug, Args)]
pub struct MakeModel {
    /// Its sizes
    #[arg(long, value_enum)]
    preset: Preset,
    /// Its 3D connector, which says how slices are scored
    #[arg(long, value_name = "NAME", default_value = released_connector(), value_parser = connectors())]
    connector: String,
    /// Seed of the weights: the same seed gives the same files
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Say in preprocess.json that scans are clipped to this window before the model sees them [default: no such file]
    #[arg(long, value_name = "LO,HI", allow_hyphen_values = true)]
    window: Option<Window>,
    /// The folder to write: a new one, or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Bytes of weights made at a time; the most that is held in memory.
const PIECE_BYTES: usize = 32 << 20;
/// Bytes of weights that one thread makes at a time.
const STRIPE_BYTES: usize = 256 << 10;
/// Tokenizers and configuration files take less than this.
const OTHER_BYTES: u64 = 16 << 20;

/// Text from which the language model's tokenizer learns its merges: what prompts and answers are made of.
const TEXTS: [&str; 3] = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, \
     and polite answers to the user's questions. USER: ASSISTANT:",
    "What is the plane of the CT image? Choices: A. Axial B. Sagittal C. Coronal D. Oblique. What abnormality does \
     this CT scan show? Which organ is abnormal? Where is the lesion located? Is there contrast in this scan?",
    "Can you provide a caption consists of findings for this medical image? The findings are a nodule in the right \
     upper lobe of the lung, a cyst in the left kidney, and a mass in the liver. The image is normal.",
];

impl MakeModel {
    /// Writes the model.
    pub fn run(&self) -> Result<()> {
        output::check_folder_target(&self.out)?;
        let mut bars = Bars::new();
        output::write_folder(&self.out, Then::Done, |folder| {
            let model = (self.preset, self.connector.as_str(), self.seed);
            write_model(folder, model, &mut |done, total| bars.show("write", done, total))?;
            match self.window {
                Some(window) => {
                    write_json(&folder.join(PREPROCESS_JSON), &json!({ "window": [window.lo(), window.hi()] }))
                }
                None => Ok(()),
            }
        })
    }
}

/// The released model's 3D connector.
fn released_connector() -> &'static str {
    scoring_connectors().next().expect("the list begins with it")
}

/// The connectors that `--connector` takes.
fn connectors() -> PossibleValuesParser {
    PossibleValuesParser::new(scoring_connectors())
}

/// Makes a folder, or fills an empty one, with the preset's tokenizers, configuration and weights.
fn write_model(
    folder: &Path,
    (preset, connector, seed): (Preset, &str, u64),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<()> {
    let config = interrupt::undisturbed(|| write_all_but_weights(folder, preset, connector))?;
    write_weights(folder, &config, seed, progress)
}

fn write_all_but_weights(folder: &Path, preset: Preset, connector: &str) -> Result<ModelConfig> {
    let sizes = preset.sizes();
    for part in Part::ALL {
        make_folder(&folder.join(part.folder()))?;
    }
    make_folder(&folder.join("args"))?;
    let vision_3d = folder.join(Part::Vision3d.folder());
    let vocabularies = match preset {
        Preset::Tiny => {
            let llm = tokenizer::write_tiny_llm_tokenizer(folder, &TEXTS)?;
            Vocabularies { llm, end: llm - 1, bert: tokenizer::write_tiny_bert_vocab(&vision_3d)? }
        }
        Preset::Released => {
            let llm = tokenizer::write_released_llm_tokenizer(folder, &TEXTS)?;
            Vocabularies { llm, end: 32_000, bert: tokenizer::write_released_bert_vocab(&vision_3d)? }
        }
    };
    write_json(&folder.join("args/config.json"), &sizes.args_config(vocabularies, connector))?;
    write_json(&folder.join("llm/config.json"), &sizes.llm_config(vocabularies))?;
    write_json(&folder.join("vision2d_model/config.json"), &sizes.vision_2d_config())?;
    write_json(&folder.join("vision3d_model/config.json"), &sizes.vision_3d_config(vocabularies))?;
    // Read back as any model is, so that what is written is what the configuration means.
    Ok(ModelConfig::parse(&ConfigFiles::read(folder)?)?)
}

fn write_weights(folder: &Path, config: &ModelConfig, seed: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let specs = expected_tensors(config);
    let total: u64 = specs.iter().map(bytes_of).sum();
    check_space(folder, total + OTHER_BYTES)?;
    let mut done = 0;
    for part in Part::ALL {
        let specs: Vec<&TensorSpec> = specs.iter().filter(|spec| spec.part == part).collect();
        let path = folder.join(part.folder()).join("model.safetensors");
        let declared =
            |spec: &&TensorSpec| Declared { name: spec.name.clone(), dtype: DType::Bf16, shape: spec.shape.clone() };
        let mut writer = SafetensorsWriter::create(&path, &specs.iter().map(declared).collect::<Vec<_>>())?;
        for spec in specs {
            let distribution = Distribution::of(&spec.name, &spec.shape, config.llm.hidden_size);
            let elements = Elements::new(seed, part.folder(), &spec.name, distribution);
            pieces(elements, bytes_of(spec), |piece| {
                writer.write(&spec.name, piece)?;
                done += piece.len() as u64;
                progress(done, total);
                Ok(())
            })?;
        }
        writer.finish()?;
    }
    Ok(())
}

/// Hands a tensor's bytes to `sink`, a bounded piece at a time, each made by all threads.
fn pieces(elements: Elements, bytes: u64, mut sink: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; PIECE_BYTES.min(bytes as usize)];
    let mut made = 0;
    while made < bytes {
        let length = buffer.len().min((bytes - made) as usize);
        let piece = &mut buffer[..length];
        piece.par_chunks_mut(STRIPE_BYTES).enumerate().for_each(|(stripe, chunk)| {
            let first = made + (stripe * STRIPE_BYTES) as u64;
            elements.fill(first / DType::Bf16.size() as u64, chunk);
        });
        sink(piece)?;
        made += length as u64;
    }
    Ok(())
}

fn bytes_of(spec: &TensorSpec) -> u64 {
    (spec.shape.iter().product::<usize>() * DType::Bf16.size()) as u64
}

/// Refuses, before anything large is written, a disk without room for it.
fn check_space(folder: &Path, wanted: u64) -> Result<()> {
    let Some(free) = crate::disk::free_bytes(folder) else { return Ok(()) };
    if free >= wanted {
        return Ok(());
    }
    let place = output::parent(folder);
    let mega = |bytes: u64| bytes.div_ceil(1_000_000);
    let wanted = mega(wanted);
    let free = mega(free);
    let finding = format!("{}: the model takes {wanted} MB, but {free} MB are free", place.display());
    Err(Failure::runtime(format!("{finding}; give an --out on another disk, or make room")))
}

fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|error| output::cannot_write(path, &error))
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    fs::write(path, text).map_err(|error| output::cannot_write(path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of tensors and parameters of the official classes, part by part.
    #[test]
    fn the_released_preset_has_the_releases_sizes() {
        let folder = tempfile::tempdir().unwrap();
        let vocabularies = Vocabularies { llm: 32_011, end: 32_000, bert: 30_522 };
        let sizes = Preset::Released.sizes();
        fs::create_dir(folder.path().join("args")).unwrap();
        write_json(&folder.path().join("args/config.json"), &sizes.args_config(vocabularies, released_connector()))
            .unwrap();
        let config = ModelConfig::parse(&ConfigFiles::read(folder.path()).unwrap()).unwrap();
        let specs = expected_tensors(&config);
        let count = |part: Part| {
            let part: Vec<_> = specs.iter().filter(|spec| spec.part == part).collect();
            (part.len(), part.iter().map(|spec| bytes_of(spec) / 2).sum::<u64>())
        };
        assert_eq!(count(Part::Llm), (195, 3_821_079_552));
        assert_eq!(count(Part::Vision2d), (400, 315_956_224));
        assert_eq!(count(Part::Connector2d), (4, 12_589_056));
        assert_eq!(count(Part::Vision3d), (342, 87_389_184 + 109_482_240 + 1_181_185));
        assert_eq!(count(Part::Connector3d), (6, 14_164_992));
    }

    #[test]
    fn a_tiny_model_is_small_complete_and_decided_by_its_seed() {
        let make = |seed: u64| {
            let folder = tempfile::tempdir().unwrap();
            write_model(folder.path(), (Preset::Tiny, released_connector(), seed), &mut |_, _| ()).unwrap();
            let model = med2e3_loaders::ModelFolder::open(folder.path()).unwrap();
            model.check(med2e3_loaders::CheckOptions::default()).unwrap();
            assert_eq!(model.warnings, Vec::<String>::new());
            fs::read(folder.path().join("llm/model.safetensors")).unwrap()
        };
        let first = make(3);
        assert!(first.len() < 4 << 20, "{} bytes", first.len());
        assert!(first == make(3) && first != make(4));
    }
}
