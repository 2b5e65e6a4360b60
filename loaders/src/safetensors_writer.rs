//! Writes a safetensors file piece by piece, so that no tensor need be in memory whole.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::files;
use crate::tensor::DType;

/// The tensors' bytes begin at a multiple of this, which suits any vector load.
const ALIGNMENT: usize = 64;

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// A file being written: everything is declared first, then the bytes follow in the same order.
///
/// The bytes go to a temporary file beside the wanted one, which [`SafetensorsWriter::finish`] renames; dropped before
/// that, the writer removes it.
pub struct SafetensorsWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    /// Each tensor's name, and the bytes still to come of it.
    pending: Vec<(String, u64)>,
    /// The tensor whose turn it is.
    turn: usize,
    finished: bool,
}

impl SafetensorsWriter {
    /// Starts `path` with a header that describes `tensors`.
    ///
    /// # Errors
    /// A file that cannot be created, a name declared twice, and sizes beyond what a file can have.
    pub fn create(path: &Path, tensors: &[Declared]) -> Result<Self> {
        let mut header = Map::new();
        header.insert("__metadata__".into(), json!({ "format": "pt" }));
        let mut pending = Vec::with_capacity(tensors.len());
        let mut end = 0u64;
        for tensor in tensors {
            let bytes = tensor.dtype.bytes_of(&tensor.shape).map(|bytes| bytes as u64);
            let next = bytes.and_then(|bytes| end.checked_add(bytes)).ok_or_else(|| {
                let finding = format!("cannot hold {:?} of shape {:?}", tensor.name, tensor.shape);
                Error::bad_input(path, finding, "use a smaller shape")
            })?;
            let description = json!({
                "dtype": tensor.dtype.to_string().to_uppercase(),
                "shape": tensor.shape,
                "data_offsets": [end, next],
            });
            if header.insert(tensor.name.clone(), description).is_some() {
                let finding = format!("cannot hold two tensors named {:?}", tensor.name);
                return Err(Error::bad_input(path, finding, "rename one"));
            }
            pending.push((tensor.name.clone(), next - end));
            end = next;
        }
        let mut header = Value::Object(header).to_string();
        let padded = (8 + header.len()).next_multiple_of(ALIGNMENT) - 8;
        header.extend(std::iter::repeat_n(' ', padded - header.len()));

        let temporary = beside(path);
        let file = File::create_new(&temporary).map_err(|e| Error::io(path, "create", e))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        let mut writer = Self { path: path.to_path_buf(), temporary, file, pending, turn: 0, finished: false };
        writer.put(&(padded as u64).to_le_bytes())?;
        writer.put(header.as_bytes())?;
        writer.skip_full();
        Ok(writer)
    }

    /// Writes the next bytes (little-endian elements) of tensor `name`.
    ///
    /// # Panics
    /// If it is another tensor's turn, or `bytes` are more than it still lacks: the caller declared something else.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let (wanted, left) = self.pending.get_mut(self.turn).expect("bytes follow a declared tensor");
        assert_eq!(wanted, name, "tensors are written in the order of their declaration");
        *left = left.checked_sub(bytes.len() as u64).expect("a tensor gets no more bytes than its shape holds");
        self.put(bytes)?;
        self.skip_full();
        Ok(())
    }

    /// Puts the complete file in its place, on the disk, replacing what was there.
    ///
    /// # Panics
    /// If a declared tensor lacks bytes.
    pub fn finish(mut self) -> Result<()> {
        let lacking = self.pending.get(self.turn).map(|(name, left)| format!("{name} lacks {left} bytes"));
        assert_eq!(lacking, None, "every declared tensor is written");
        self.file.flush().map_err(|e| Error::io(&self.path, "write", e))?;
        files::put_in_place(&self.temporary, &self.path)
            .map_err(|e| Error::io(&self.path, "put the file in place", e))?;
        self.finished = true;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, "write", e))
    }

    fn skip_full(&mut self) {
        while self.pending.get(self.turn).is_some_and(|(_, left)| *left == 0) {
            self.turn += 1;
        }
    }
}

impl Drop for SafetensorsWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing more can be done about a file that cannot be removed either.
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}

/// A name beside `path`, on the same file system, that this process alone uses.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".partial-{}", std::process::id()));
    path.with_file_name(name)
}
