//! Uploads on disk: files that no folder lists, within a limit that all share.
//!
//! A file without a name cannot be opened by another user, and the system drops it with the process, even one that was
//! killed: nothing has to be cleaned at the next start.
use crate::error::{ApiError, Result};
use axum::http::StatusCode;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A folder on a disk, and how much may be kept there.
pub(crate) struct Spool {
    folder: PathBuf,
    limit: u64,
    used: Arc<AtomicU64>,
}

/// What a file takes of the limit, until it is dropped.
struct Share {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A file without a name.
pub(crate) struct SpoolFile {
    file: File,
    share: Share,
    limit: u64,
}

impl Spool {
    /// Uses `folder`, in which it makes a file to see whether it can.
    ///
    /// # Errors
    /// Why no file can be made there.
    pub fn open(folder: &Path, limit: u64) -> std::io::Result<Self> {
        tempfile::tempfile_in(folder)?;
        Ok(Self { folder: folder.to_owned(), limit, used: Arc::new(AtomicU64::new(0)) })
    }

    /// Bytes that files take, or were promised.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// An empty file, for which `promised` bytes are kept free.
    pub fn create(&self, promised: u64) -> Result<SpoolFile> {
        let file = tempfile::tempfile_in(&self.folder).map_err(|error| refused(&error))?;
        let mut share = Share { used: self.used.clone(), bytes: 0 };
        share.take(promised, self.limit)?;
        Ok(SpoolFile { file, share, limit: self.limit })
    }
}

impl Share {
    fn take(&mut self, more: u64, limit: u64) -> Result<()> {
        let add = |used: u64| used.checked_add(more).filter(|&used| used <= limit);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
            Ok(_) => {
                self.bytes += more;
                Ok(())
            }
            Err(_) => Err(full("the server keeps as many bytes of scans as it may")),
        }
    }
}

impl SpoolFile {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// 507 where there is no room.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.share.take(bytes.len() as u64, self.limit)?;
        self.file.write_all(bytes).map_err(|error| refused(&error))
    }

    /// Gives back what was promised and not used.
    pub fn settle(&mut self) -> std::io::Result<()> {
        let unused = self.share.bytes.saturating_sub(self.file.metadata()?.len());
        self.share.bytes -= unused;
        self.share.used.fetch_sub(unused, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes that it takes, or was promised.
    pub fn bytes(&self) -> u64 {
        self.share.bytes
    }

    /// Another handle to the file, for a process that is started with it.
    pub fn handle(&self) -> std::io::Result<File> {
        self.file.try_clone()
    }

    /// At most `limit` bytes from `from` on.
    pub fn read_at(&self, from: u64, limit: usize) -> std::io::Result<Vec<u8>> {
        // Handles share their place in the file, so that only positioned calls may run side by side.
        let mut bytes = vec![0; limit];
        let mut filled = 0;
        while filled < limit {
            match self.file.read_at(&mut bytes[filled..], from + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn full(finding: &str) -> ApiError {
    let message = format!("{finding}; delete files that are not needed, or come back later");
    ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "spool_full", message)
}

/// What the system said of the spool, without its path.
fn refused(error: &std::io::Error) -> ApiError {
    tracing::error!(reason = %error, "the spool cannot be written");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            full("the server's disk is full")
        }
        _ => ApiError::internal("spool_failed", "the server cannot keep the file; its log says why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_name_and_gives_its_bytes_back() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), 10).unwrap();
        let mut file = spool.create(4).unwrap();
        file.append(b"abcd").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(file.read_at(1, 9).unwrap(), b"bcd");
        assert_eq!(spool.used(), 8);
        let error = file.append(b"efg").unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (507, "spool_full"));
        drop(file);
        assert_eq!(spool.used(), 0);
        assert!(spool.create(11).is_err() && spool.create(10).is_ok());
        let mut file = spool.create(8).unwrap();
        file.handle().unwrap().write_all(b"abc").unwrap();
        file.settle().unwrap();
        assert_eq!((file.bytes(), spool.used()), (3, 3));
        assert!(Spool::open(&folder.path().join("none"), 1).is_err());
    }
}
