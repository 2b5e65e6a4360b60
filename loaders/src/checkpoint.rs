//! One folder of weights: its tensors by name, whichever of the file formats holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};
use std::sync::Arc;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::tensor::{DType, Data, Entry, Owner, Tensor};
use crate::{adapter, files, mmap};
use crate::{safetensors, torch_zip};

const INDEX: &str = "model.safetensors.index.json";
const SAFETENSORS: &str = "model.safetensors";
const TORCH: &str = "pytorch_model.bin";
const TORCH_INDEX: &str = "pytorch_model.bin.index.json";
/// Longest index file read; a 1000-tensor index takes 100 KB.
const INDEX_BYTES_MAX: u64 = 16 << 20;

/// Reads the table of tensors of one file: its path, for messages alone, and all its bytes.
type ReadTable = fn(&Path, &[u8]) -> Result<Vec<Entry>>;

/// The tensors of one part of a model, borrowed from memory-mapped files.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    /// Tensors of a type that we do not load: name and the file's word for the type.
    ignored: Vec<(String, String)>,
    /// The name, as the file has it, of a tensor that only training with an adapter leaves.
    adapter_tensor: Option<String>,
}

impl Checkpoint {
    /// Opens the weights in `dir`: `model.safetensors.index.json` and its shards, `model.safetensors`,
    /// `pytorch_model.bin`, or `pytorch_model.bin.index.json` and its shards, whichever is found first. Names lose the
    /// `.base_layer` that LoRA training leaves in them.
    ///
    /// # Errors
    /// None of the four files, an unreadable one, one that promises other sizes than it has, a shard outside `dir` or
    /// without a tensor that the index puts there, and a name that occurs twice.
    pub fn open(dir: &Path) -> Result<Self> {
        let mut checkpoint = Self::default();
        let holds = |name: &str| files::is_file(&dir.join(name));
        if holds(INDEX)? {
            checkpoint.add_shards(dir, INDEX, safetensors::read_header)?;
        } else if holds(SAFETENSORS)? {
            checkpoint.add_file(&dir.join(SAFETENSORS), safetensors::read_header)?;
        } else if holds(TORCH)? {
            checkpoint.add_file(&dir.join(TORCH), torch_zip::read_table)?;
        } else if holds(TORCH_INDEX)? {
            checkpoint.add_shards(dir, TORCH_INDEX, torch_zip::read_table)?;
        } else {
            let finding = format!("holds no weights: neither {INDEX}, {SAFETENSORS}, {TORCH} nor {TORCH_INDEX}");
            return Err(Error::bad_input(dir, finding, "put the model's files there"));
        }
        Ok(checkpoint)
    }

    /// A checkpoint of tensors that are already in memory.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self { tensors: tensors.into_iter().collect(), ..Self::default() }
    }

    /// Every tensor's name, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// Every name and tensor, in alphabetical order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Bytes of all tensors together.
    pub fn total_bytes(&self) -> u64 {
        self.tensors.values().map(|tensor| tensor.bytes().len() as u64).sum()
    }

    /// Tensors left out because of their element type: name, and the file's word for the type.
    pub fn ignored(&self) -> &[(String, String)] {
        &self.ignored
    }

    /// The name, as the file has it, of a tensor that only training with a LoRA adapter leaves, if there is one: these
    /// weights without the adapter are those of another model.
    pub fn adapter_tensor(&self) -> Option<&str> {
        self.adapter_tensor.as_deref()
    }

    fn add_shards(&mut self, dir: &Path, index_name: &str, read: ReadTable) -> Result<()> {
        let index_path = dir.join(index_name);
        let bad = |finding: String| Error::bad_input(&index_path, finding, "fetch the model's files again");
        let text = files::read(&index_path, INDEX_BYTES_MAX)?;
        let index: Index = serde_json::from_slice(&text).map_err(|e| bad(format!("is not an index of shards: {e}")))?;
        let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        for shard in shards {
            let mut parts = Path::new(shard).components();
            if !matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None)) {
                return Err(bad(format!("names shard {shard:?}, which is not a file of its own folder")));
            }
            self.add_file(&dir.join(shard), read)?;
        }
        let lacking = |name: &&String| {
            let name = without_base_layer(name);
            !self.tensors.contains_key(&name) && !self.ignored.iter().any(|(ignored, _)| *ignored == name)
        };
        if let Some((name, shard)) = index.weight_map.iter().find(|(name, _)| lacking(name)) {
            return Err(bad(format!("puts tensor {name:?} in {shard:?}, which does not hold it")));
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path, read: ReadTable) -> Result<()> {
        let map = mmap::map(path)?;
        files::refuse_pointer(path, &map)?;
        let entries = read(path, &map)?;
        self.add_entries(path, map, entries)
    }

    fn add_entries(&mut self, path: &Path, file: Owner, entries: Vec<Entry>) -> Result<()> {
        for entry in entries {
            let name = without_base_layer(&entry.name);
            if self.adapter_tensor.is_none() && adapter::is_adapter_tensor(&entry.name) {
                self.adapter_tensor = Some(entry.name.clone());
            }
            let dtype = match entry.dtype {
                Ok(dtype) => dtype,
                Err(word) => {
                    self.ignored.push((name, word));
                    continue;
                }
            };
            let tensor = tensor_of(dtype, entry.shape, entry.data, &file).ok_or_else(|| {
                Error::bad_input(path, format!("holds {name:?} in a range of another size"), "fetch the file again")
            })?;
            if self.tensors.contains_key(&name) {
                let finding = format!("holds tensor {name:?}, which was already found in this folder");
                return Err(Error::bad_input(path, finding, "keep one of the two"));
            }
            self.tensors.insert(name, tensor);
        }
        Ok(())
    }
}

fn tensor_of(dtype: DType, shape: Vec<usize>, data: Data, file: &Owner) -> Option<Tensor> {
    match data {
        Data::InFile(range) => Tensor::new(dtype, shape, file.clone(), range),
        Data::Gathered(bytes) => {
            let len = bytes.len();
            Tensor::new(dtype, shape, Arc::new(bytes), 0..len)
        }
    }
}

fn without_base_layer(name: &str) -> String {
    name.replace(".base_layer", "")
}

/// The part of an index of shards that says where each tensor is.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}
