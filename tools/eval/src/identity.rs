//! What a run's answers depend on: results of another model, of other items or of other options are not mixed in.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::data::{Item, VolumeFile};
use crate::error::{Error, Result};

/// Written at the top of every file of results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// Of this layout.
    pub format: u32,
    /// The engine's version.
    pub version: String,
    /// Hash of the model's files, of large ones by samples.
    pub model: String,
    /// Hash of the items and of their volumes' names and sizes.
    pub data: String,
    /// All that changes answers or scores.
    pub options: Map<String, Value>,
}

/// The layout that this program writes and reads. It is raised whenever answers from before must not be mixed with new
/// ones, even where the layout itself stays.
///
/// 2: the window that `--window auto` finds, and the same sums at every batch.
const FORMAT: u32 = 2;
/// What to do about results at --out that this run cannot take up.
pub(crate) const DISCARD: &str = "add --restart to discard them, or give another --out";
/// Files up to this size are hashed whole.
const WHOLE_BYTES: u64 = 1 << 20;
/// Larger ones by so many pieces, evenly spread.
const PIECES: u64 = 256;
/// Of this size.
const PIECE_BYTES: u64 = 4096;
/// What a model folder's files may be called; its README is none of ours.
const MODEL_FILES: [&str; 5] = ["json", "safetensors", "bin", "model", "txt"];
/// Folders below the model's.
const DEPTH_MAX: usize = 3;

/// What every format has at its top: tells results of another version of this program from other people's files.
#[derive(Debug, Deserialize)]
pub(crate) struct Origin {
    format: u32,
    version: String,
}

impl Origin {
    /// Reads a file of results, or the first line of a journal.
    pub(crate) fn of(json: &[u8], path: &Path) -> Result<Self> {
        serde_json::from_slice(json).map_err(|error| {
            let shown = path.display();
            Error::usage(format!("{shown}: does not hold results of eval ({error}); give the name of another file"))
        })
    }

    /// Refuses another format than ours.
    pub(crate) fn check(&self, path: &Path, remedy: &str) -> Result<()> {
        if self.format == FORMAT {
            return Ok(());
        }
        let Self { format, version } = self;
        Err(Error::usage(format!(
            "{}: holds results of format {format}, from version {version} of this program, and this one reads format \
             {FORMAT}; {remedy}",
            path.display()
        )))
    }
}

impl Identity {
    /// Hashes the model and the items.
    ///
    /// # Errors
    /// Where a file of the model cannot be read.
    pub fn new(model: &Path, items: &[Item], volumes: &[VolumeFile<'_>], options: Map<String, Value>) -> Result<Self> {
        Ok(Self::of_hashes(model_hash(model)?, data_hash(items, volumes), options))
    }

    /// Of what was hashed already.
    pub fn of_hashes(model: String, data: String, options: Map<String, Value>) -> Self {
        Self { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), model, data, options }
    }

    /// Refuses results of another run.
    pub(crate) fn check(&self, earlier: &Self, out: &Path) -> Result<()> {
        let changed = if self.version != earlier.version {
            format!("were made by version {} of this program, and this is {}", earlier.version, self.version)
        } else if self.model != earlier.model {
            "were made with another model, or its files have changed".to_owned()
        } else if self.data != earlier.data {
            "are of other items or volumes: the data, --limit, or what is asked has changed".to_owned()
        } else if let Some(name) = self.changed_option(earlier) {
            let value = |of: &Self| of.options.get(name).map_or("absent".to_owned(), Value::to_string);
            format!("were made with {name} {}, and now it is {}", value(earlier), value(self))
        } else {
            return Ok(());
        };
        Err(Error::usage(format!("{}: the results there {changed}; {DISCARD}", out.display())))
    }

    fn changed_option<'a>(&'a self, earlier: &'a Self) -> Option<&'a str> {
        let names = self.options.keys().chain(earlier.options.keys());
        names.map(String::as_str).find(|name| self.options.get(*name) != earlier.options.get(*name))
    }
}

fn data_hash(items: &[Item], volumes: &[VolumeFile<'_>]) -> String {
    let mut hash = Sha256::new();
    for item in items {
        // The debug form names every field, so no two items look alike.
        hash.update(format!("{item:?}\n"));
    }
    for VolumeFile { name, bytes } in volumes {
        hash.update(format!("{name:?} {bytes}\n"));
    }
    hex(hash)
}

/// Any training step changes all weights, so samples of them tell models apart without reading gigabytes.
fn model_hash(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    list(folder, 0, &mut files).map_err(|error| med2e3_loaders::Error::io(folder, "list", error))?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        sample(&file, name, &mut hash).map_err(|error| med2e3_loaders::Error::io(&file, "read", error))?;
    }
    Ok(hex(hash))
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if path.is_file() && MODEL_FILES.contains(&extension) {
            files.push(path);
        } else if path.is_dir() && depth < DEPTH_MAX {
            list(&path, depth + 1, files)?;
        }
    }
    Ok(())
}

fn sample(file: &Path, name: &Path, hash: &mut Sha256) -> std::io::Result<()> {
    let mut reader = std::fs::File::open(file)?;
    let bytes = reader.metadata()?.len();
    hash.update(format!("{name:?} {bytes}\n"));
    if bytes <= WHOLE_BYTES {
        std::io::copy(&mut reader, hash)?;
        return Ok(());
    }
    let mut piece = vec![0; PIECE_BYTES as usize];
    for index in 0..PIECES {
        reader.seek(SeekFrom::Start((bytes - PIECE_BYTES) / (PIECES - 1) * index))?;
        reader.read_exact(&mut piece)?;
        hash.update(&piece);
    }
    Ok(())
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_changed_weight_in_a_sample_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.bin");
        let mut weights = vec![1_u8; 3 << 20];
        std::fs::write(&file, &weights).unwrap();
        let first = model_hash(folder.path()).unwrap();
        std::fs::write(folder.path().join("README.md"), "no weights").unwrap();
        assert_eq!(model_hash(folder.path()).unwrap(), first);
        let last = weights.len() - PIECE_BYTES as usize;
        weights[last / 255 * 255 + 7] = 2;
        std::fs::write(&file, &weights).unwrap();
        assert_ne!(model_hash(folder.path()).unwrap(), first);
    }
}
