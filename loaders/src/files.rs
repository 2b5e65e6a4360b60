//! Small files read whole, and finished files that outlive a power cut.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Whether there is a file of any kind at `path`, or a folder. A link counts as what it leads to.
///
/// # Errors
/// The system does not say: no permission to look into the folder, links that go round in circles.
pub fn exists(path: &Path) -> Result<bool> {
    metadata(path).map(|found| found.is_some())
}

/// Whether there is a regular file at `path`, or a link to one.
///
/// # Errors
/// As [`exists`].
pub fn is_file(path: &Path) -> Result<bool> {
    metadata(path).map(|found| found.is_some_and(|metadata| metadata.is_file()))
}

fn metadata(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(Error::io(path, "open", error)),
    }
}

/// The whole of a regular file (a pipe would block, a device may have no end) of at most `bytes_max` bytes.
///
/// # Errors
/// No such file, none that can be read, something else than a regular file, a longer one, a pointer of git-lfs.
pub fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let metadata = fs::metadata(path).map_err(|error| Error::io(path, "open", error))?;
    if !metadata.is_file() {
        return Err(Error::bad_input(path, "is not a regular file", "give a file"));
    }
    let file = File::open(path).map_err(|error| Error::io(path, "open", error))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| Error::io(path, "read", error))?;
    if bytes.len() as u64 > bytes_max {
        let finding = format!("is longer than {bytes_max} bytes");
        return Err(Error::bad_input(path, finding, "check that it is the right file"));
    }
    refuse_pointer(path, &bytes)?;
    Ok(bytes)
}

/// How every file begins that `git clone` leaves where git-lfs is not installed.
pub(crate) const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What a pointer is, and what helps; the path stands before.
pub(crate) const LFS_FINDING: &str = "is a pointer of git-lfs, which stands for a large file that was not fetched";
pub(crate) const LFS_REMEDY: &str = "run `git lfs pull` in the folder where it was cloned";

/// Says so where `bytes`, the file at `path`, only stands for a large file that was not fetched.
pub(crate) fn refuse_pointer(path: &Path, bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(LFS_POINTER) {
        return Err(Error::bad_input(path, LFS_FINDING, LFS_REMEDY));
    }
    Ok(())
}

/// Moves the finished file or folder `from` to `to`, both on one disk, so that a power cut leaves the old state or the
/// new one: everything is on the disk before the name changes, and the name before this returns.
///
/// # Errors
/// The system's, of writing to the disk or of renaming.
pub fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    sync_tree(from)?;
    fs::rename(from, to)?;
    sync_folder_of(to)
}

/// Waits until a file, or a folder with all that it holds, is on the disk.
///
/// # Errors
/// The system's.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_symlink() {
        return Ok(());
    }
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
    }
    file.sync_all()
}

/// Waits until the names in the folder that holds `path` are on the disk, where the system can do that: a folder may be
/// closed to readers, and some file systems do not write folders on demand.
///
/// # Errors
/// The system's.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let done = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
    match done.as_ref().map_err(io::Error::kind) {
        Err(ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        _ => done,
    }
}

/// The folder that holds or will hold `path`.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_regular_files_of_bounded_length_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("ten"), [7; 10]).unwrap();
        assert_eq!(read(&at("ten"), 10).unwrap(), [7; 10]);
        assert!(read(&at("ten"), 9).unwrap_err().to_string().contains("is longer than 9 bytes"));
        symlink("/dev/zero", at("endless")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        for path in [at("endless"), at("pipe"), folder.path().to_path_buf()] {
            assert!(read(&path, 10).unwrap_err().to_string().contains("is not a regular file"));
            assert!(exists(&path).unwrap() && !is_file(&path).unwrap());
        }
        symlink(at("round"), at("round")).unwrap();
        assert!(!exists(&at("none")).unwrap() && !exists(&at("ten/below")).unwrap());
        assert!(exists(&at("round")).unwrap_err().to_string().contains("cannot open"), "not the same as absent");
    }

    #[test]
    fn a_folder_moves_with_all_that_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("from/inner")).unwrap();
        fs::write(at("from/inner/file"), "x").unwrap();
        symlink("nowhere", at("from/link")).unwrap();
        put_in_place(&at("from"), &at("to")).unwrap();
        assert_eq!(fs::read(at("to/inner/file")).unwrap(), b"x");
        assert!(put_in_place(&at("from"), &at("to")).is_err());
    }
}
