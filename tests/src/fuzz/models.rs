//! Readers of a whole model: its configuration, and its folder, checked and converted.
use super::{Seed, case_folder, of_number, seeds, write};
use crate::golden::Goldens;
use med2e3_loaders::config::ConfigFiles;
use med2e3_loaders::{CheckOptions, DType, ModelConfig, ModelFolder, Part, convert, expected_tensors};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The bytes stand in for each of a model's four files in turn; they are accepted where one of them can be so.
pub(super) fn read_config(bytes: &[u8]) -> Result<(), String> {
    let sound = seeds::config_files();
    let mutants = [
        ConfigFiles { args: bytes.to_vec(), ..sound.clone() },
        ConfigFiles { llm: Some(bytes.to_vec()), ..sound.clone() },
        ConfigFiles { vision_2d: Some(bytes.to_vec()), ..sound.clone() },
        ConfigFiles { vision_3d: Some(bytes.to_vec()), ..sound },
    ];
    let outcomes = mutants.map(|files| {
        let config = ModelConfig::parse(&files).map_err(|error| error.to_string())?;
        check_sizes(&config);
        Ok(())
    });
    outcomes.into_iter().reduce(Result::or).expect("there are four")
}

/// The number of bytes of every tensor can be counted, and widths are what their heads make of them.
fn check_sizes(config: &ModelConfig) {
    for spec in expected_tensors(config) {
        let sized = spec.shape.iter().all(|&dim| dim > 0) && DType::F32.bytes_of(&spec.shape).is_some();
        assert!(sized, "{} of shape {:?}", spec.name, spec.shape);
    }
    let llm = &config.llm;
    assert_eq!(llm.hidden_size, llm.num_attention_heads * llm.head_dim);
    assert!(llm.num_attention_heads.is_multiple_of(llm.num_key_value_heads));
    assert!([llm.rms_norm_eps, llm.rope_theta].iter().all(|number| number.is_finite()), "{llm:?}");
    assert!(config.rows_3d() + config.rows_2d() < config.llm_max_length);
}

/// The golden model that is taken: the smallest.
const MODEL: &str = "c_score15";
/// The files of it that are mutated.
const FILES: [&str; 9] = [
    "args/config.json",
    "llm/config.json",
    "vision2d_model/config.json",
    "vision3d_model/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vision3d_model/vocab.txt",
    "vision3d_connector/model.safetensors",
    "llm/model.safetensors",
];

/// A file of the model: its place in the folder, and where it is.
static SOUND: LazyLock<Vec<(String, PathBuf)>> = LazyLock::new(|| Goldens::open().model_files(MODEL));

fn sound(file: &str) -> Vec<u8> {
    let place = SOUND.iter().find(|(place, _)| place == file);
    std::fs::read(&place.unwrap_or_else(|| panic!("{MODEL} has no {file}")).1).expect("committed")
}

/// A safetensors file with another header before its tensors.
///
/// # Panics
/// If `file` is of another kind.
pub fn with_header(file: &[u8]) -> Seed {
    let (length, rest) = file.split_first_chunk::<8>().expect("a length");
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let data = data.to_vec();
    Seed::part(header.to_vec(), move |header| {
        let length = (header.len() as u64).to_le_bytes();
        [length.as_slice(), &header, &data].concat()
    })
}

pub(super) fn seeds() -> Vec<Seed> {
    let seed = |(file, name): (usize, &&str)| {
        let bytes = sound(name);
        let inner = if name.ends_with(".safetensors") { with_header(&bytes) } else { Seed::whole(bytes) };
        Seed::part(inner.bytes.clone(), move |bytes| [vec![file as u8], inner.wrap(bytes)].concat())
    };
    FILES.iter().enumerate().map(seed).collect()
}

/// The bytes are one file of a model that is otherwise sound. What is accepted can be converted, and gives the same.
pub(super) fn read_folder(bytes: &[u8]) -> Result<(), String> {
    let Some((file, content)) = of_number(&FILES, bytes) else { return Err("is empty; give a file".into()) };
    let folder = case_folder();
    let model = folder.path().join("model");
    let converted = folder.path().join("converted");
    for (place, source) in SOUND.iter() {
        let target = model.join(place);
        std::fs::create_dir_all(target.parent().expect("inside the folder")).expect("a folder");
        match place == FILES[file] {
            true => write(target, content),
            false => std::os::unix::fs::symlink(source, target).expect("a link"),
        }
    }
    let opened = open(&model)?;
    convert(&model, &converted, Some(DType::F16), &mut |_, _| ()).map_err(|error| error.to_string())?;
    let narrow = open(&converted).unwrap_or_else(|error| panic!("not readable after it was converted: {error}"));
    for part in Part::ALL {
        let (Some(before), Some(after)) = (opened.part(part), narrow.part(part)) else { continue };
        assert!(before.names().eq(after.names()), "{part} has other tensors");
        for (name, tensor) in after.iter() {
            let shape = before.get(name).map(|tensor| tensor.shape.as_slice());
            assert_eq!((tensor.dtype, Some(tensor.shape.as_slice())), (DType::F16, shape), "{part}/{name}");
        }
    }
    Ok(())
}

/// A folder that could be run.
fn open(model: &Path) -> Result<ModelFolder, String> {
    let folder = ModelFolder::open(model).map_err(|error| error.to_string())?;
    check_sizes(&folder.config);
    let tokenizers = folder.check(CheckOptions::default()).map_err(|error| error.to_string())?;
    assert!(tokenizers.llm.vocab_size() <= folder.config.llm.vocab_size);
    for spec in expected_tensors(&folder.config).iter().filter(|spec| spec.required) {
        let tensor = folder.part(spec.part).and_then(|part| part.get(&spec.name));
        let tensor = tensor.unwrap_or_else(|| panic!("{} is missing", spec.name));
        assert_eq!((&tensor.shape, tensor.to_f32().len()), (&spec.shape, spec.shape.iter().product()), "{}", spec.name);
    }
    Ok(folder)
}
