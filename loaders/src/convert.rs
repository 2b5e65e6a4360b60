//! Rewrites a model folder with its weights as safetensors, optionally in another element type.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::expected::Part;
use crate::files;
use crate::model_folder::ModelFolder;
use crate::safetensors_writer::{Declared, SafetensorsWriter, beside};
use crate::tensor::{DType, Tensor, f32_chunks};

/// Bytes copied between two progress reports.
const PROGRESS_BYTES: usize = 8 << 20;
/// Largest file that is taken for a configuration or tokenizer; Phi-3's tokenizer.json has 2 MB, Qwen's 7 MB.
const SMALL_FILE_BYTES_MAX: u64 = 64 << 20;

/// Writes the model folder `input` to `output`: weights as `model.safetensors` per part, in `dtype` if one is given,
/// configurations and tokenizers as they are. `progress` gets the weights' bytes read so far and in all.
///
/// The work is done in a folder beside `output`, which takes its place at the end; `input` is only read.
///
/// # Errors
/// Those of [`ModelFolder::open`]; an `output` that has something in it, lies within `input` or in no folder; a full
/// disk.
pub fn convert(input: &Path, output: &Path, dtype: Option<DType>, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let model = ModelFolder::open(input)?;
    check_output(input, output)?;
    let partial = Partial::create(beside(output))?;
    copy_small_files(input, &partial.path)?;
    for folder in fs::read_dir(input).map_err(|e| Error::io(input, "list", e))? {
        let folder = folder.map_err(|e| Error::io(input, "list", e))?;
        let known = folder.file_name() == "args" || Part::ALL.iter().any(|part| folder.file_name() == part.folder());
        if known && folder.path().is_dir() {
            let copy = partial.path.join(folder.file_name());
            fs::create_dir(&copy).map_err(|e| Error::io(&copy, "create", e))?;
            copy_small_files(&folder.path(), &copy)?;
        }
    }
    let parts = || Part::ALL.into_iter().filter_map(|part| Some((part, model.part(part)?)));
    let total: u64 = parts().map(|(_, checkpoint)| checkpoint.total_bytes()).sum();
    let mut done = 0;
    for (part, checkpoint) in parts() {
        let path = partial.path.join(part.folder()).join("model.safetensors");
        let written = write_checkpoint(checkpoint, &path, dtype, &mut |bytes| {
            done += bytes;
            progress(done, total);
        });
        written.map_err(|error| cut_short(error, &input.join(part.folder())))?;
    }
    partial.take_place_of(output)
}

/// To the system, writing from a map that lost its bytes is a bad address: the fault of the weights, not of the output.
fn cut_short(error: Error, weights: &Path) -> Error {
    match error {
        Error::Io { source, .. } if source.raw_os_error() == Some(libc::EFAULT) => {
            let finding = "the weights were cut short while they were in use";
            Error::io(weights, "go on", std::io::Error::new(std::io::ErrorKind::UnexpectedEof, finding))
        }
        error => error,
    }
}

/// Writes every tensor of `checkpoint`; `progress` gets the bytes just read.
fn write_checkpoint(
    checkpoint: &Checkpoint,
    path: &Path,
    dtype: Option<DType>,
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let declared: Vec<Declared> = checkpoint
        .iter()
        .map(|(name, tensor)| Declared {
            name: name.to_string(),
            dtype: dtype.unwrap_or(tensor.dtype),
            shape: tensor.shape.clone(),
        })
        .collect();
    let mut writer = SafetensorsWriter::create(path, &declared)?;
    for (name, tensor) in checkpoint.iter() {
        for chunk in tensor.bytes().chunks(PROGRESS_BYTES) {
            write_chunk(&mut writer, name, tensor, dtype.unwrap_or(tensor.dtype), chunk)?;
            progress(chunk.len() as u64);
        }
    }
    writer.finish()
}

/// Writes `chunk`, a piece of `tensor`'s bytes, as `dtype`, rounding to nearest even where it is narrower.
fn write_chunk(writer: &mut SafetensorsWriter, name: &str, tensor: &Tensor, dtype: DType, chunk: &[u8]) -> Result<()> {
    if dtype == tensor.dtype {
        return writer.write(name, chunk);
    }
    let mut converted = Vec::with_capacity(chunk.len() / tensor.dtype.size() * dtype.size());
    f32_chunks(tensor.dtype, chunk, |floats| match dtype {
        DType::F32 => converted.extend(floats.iter().flat_map(|float| float.to_le_bytes())),
        DType::F16 => converted.extend(floats.iter().flat_map(|float| half::f16::from_f32(*float).to_le_bytes())),
        DType::Bf16 => converted.extend(floats.iter().flat_map(|float| half::bf16::from_f32(*float).to_le_bytes())),
    });
    writer.write(name, &converted)
}

fn check_output(input: &Path, output: &Path) -> Result<()> {
    if let Ok(mut entries) = fs::read_dir(output) {
        if entries.next().is_some() {
            return Err(Error::bad_input(output, "is not empty", "give a new folder"));
        }
    } else if output.exists() {
        return Err(Error::bad_input(output, "is a file", "give a new folder"));
    }
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    if let (Ok(input), Ok(output)) = (absolute(input), absolute(output))
        && output.starts_with(&input)
    {
        return Err(Error::bad_input(&output, "lies within the model's folder", "give a folder outside it"));
    }
    Ok(())
}

/// Copies the files of one folder that are neither weights nor too large to be a configuration or tokenizer.
fn copy_small_files(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(|e| Error::io(from, "list", e))? {
        let path = entry.map_err(|e| Error::io(from, "list", e))?.path();
        // Links are followed: a hub's cache consists of them.
        let metadata = fs::metadata(&path).map_err(|e| Error::io(&path, "open", e))?;
        if !metadata.is_file() || is_weights(&path) || metadata.len() > SMALL_FILE_BYTES_MAX {
            continue;
        }
        let copy = to.join(entry_name(&path));
        fs::copy(&path, &copy).map_err(|e| Error::io(&path, "copy", e))?;
    }
    Ok(())
}

fn entry_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

fn is_weights(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    let index = entry_name(path).to_str().is_some_and(|name| name.ends_with(".index.json"));
    index || matches!(extension, Some("bin" | "safetensors" | "pt" | "pth" | "ckpt"))
}

/// A folder that disappears unless it takes another's place.
struct Partial {
    path: PathBuf,
    kept: bool,
}

impl Partial {
    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).map_err(|e| Error::io(&path, "create", e))?;
        Ok(Self { path, kept: false })
    }

    fn take_place_of(mut self, output: &Path) -> Result<()> {
        if output.is_dir() {
            // It is empty: `check_output` saw to that, and an entry that appeared since makes this fail.
            fs::remove_dir(output).map_err(|e| Error::io(output, "replace", e))?;
        }
        files::put_in_place(&self.path, output).map_err(|e| Error::io(output, "put the folder in place", e))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
            // Nothing more can be done about a folder that cannot be removed either.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
