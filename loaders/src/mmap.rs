//! Read-only memory maps of regular files: the only unsafe code of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps the whole of `path`, which must be a regular file (a pipe would block, a folder has no bytes).
pub fn map(path: &Path) -> Result<Arc<Mmap>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, "open", e))?;
    if !metadata.is_file() {
        return Err(Error::bad_input(path, "is not a regular file", "give a file"));
    }
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    // SAFETY: the map is read-only and private to this process's address space; it stays valid until dropped, for the
    // kernel keeps the file alive. The one hazard is another process that changes or truncates the file meanwhile:
    // every byte is read as plain data (no value of ours is invalid for any bit pattern), so a change gives other
    // numbers and a truncation a bus error. Copying 8 GB to rule that out is the cost this map exists to avoid.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, "map into memory", e))?;
    Ok(Arc::new(map))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_and_a_missing_file_are_errors() {
        assert!(map(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err().to_string().contains("not a regular file"));
        assert!(map(Path::new("no/such/file")).unwrap_err().to_string().contains("cannot open"));
    }
}
