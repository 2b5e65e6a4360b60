//! What a command writes: files that appear whole or not at all, and text to the standard streams.

use std::fs::{File, Permissions};
use std::io;
use std::path::Path;

use med2e3_loaders::files;
pub use med2e3_loaders::files::folder_of as parent;
use med2e3_loaders::sentence::escaped;

use crate::failure::{Failure, Result};
use crate::interrupt::{Unfinished, finish, undisturbed};
pub use crate::streams::{Reader, note, print, print_json};
use crate::target::{PART_PREFIX, PART_SUFFIX};
pub use crate::target::{check_distinct, check_folder_target, check_not_input, check_outside, check_target};

/// When a result is whole: what remains to be done after a file or folder is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More files, or text to print.
    More,
    /// Nothing: a signal that comes later is ignored.
    Done,
}

/// Writes a file beside its final place and moves it there once `fill` has written all of it. A power cut leaves the
/// old file or the new one.
pub fn write_file(path: &Path, force: bool, then: Then, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_target(path, force)?;
    let failed = |error: io::Error| cannot_write(path, &error);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX).suffix(PART_SUFFIX).permissions(readable());
    let make = || {
        let file = builder.tempfile_in(parent(path))?;
        hold(file.as_file());
        Ok(file)
    };
    let (_unfinished, file) = Unfinished::make(make).map_err(failed)?;
    let (_held, temporary) = file.into_parts();
    fill(&temporary).map_err(|failure| in_the_users_words(failure, &temporary, path))?;
    files::sync_tree(&temporary).map_err(failed)?;
    put_in_place(then, || {
        let moved = if force { temporary.persist(path) } else { temporary.persist_noclobber(path) };
        moved.map_err(|error| error.error)
    })
    .and_then(|()| files::sync_folder_of(path))
    .map_err(failed)
}

/// As [`write_file`], for bytes at hand.
pub fn write_bytes(path: &Path, force: bool, then: Then, bytes: &[u8]) -> Result<()> {
    write_file(path, force, then, |temporary| {
        std::fs::write(temporary, bytes).map_err(|error| cannot_write(path, &error))
    })
}

/// Has `fill` make a folder beside its final place and moves it there once it is done. The place must be free: nothing
/// there, or an empty folder.
pub fn write_folder(path: &Path, then: Then, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_folder_target(path)?;
    let failed = |error: io::Error| cannot_write(path, &error);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PART_PREFIX).suffix(PART_SUFFIX);
    let (_unfinished, temporary) = Unfinished::make(|| builder.tempdir_in(parent(path))).map_err(failed)?;
    let held = File::open(temporary.path()).map_err(failed)?;
    hold(&held);
    let folder = temporary.path().join(FOLDER);
    fill(&folder).map_err(|failure| in_the_users_words(failure, temporary.path(), path))?;
    files::sync_tree(&folder).map_err(failed)?;
    // `dir/.` names a folder and cannot be renamed to.
    let place = parent(path).join(path.file_name().unwrap_or_default());
    // Ctrl-C removes what is in the folder piece by piece: what is left must not move.
    let moved = put_in_place(then, || std::fs::rename(&folder, &place));
    moved.and_then(|()| files::sync_folder_of(path)).map_err(failed)
}

/// The folder being filled, in the temporary one.
const FOLDER: &str = "folder";

/// Moves a result to its place, before a signal or never.
fn put_in_place(then: Then, place: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    undisturbed(|| {
        place()?;
        if then == Then::Done {
            finish();
        }
        Ok(())
    })
}

/// Shows other runs that this one lives; a file system without locks shows nothing.
fn hold(part: &File) {
    let _ = part.try_lock();
}

/// Names the place that the user gave where `failure` names the temporary one.
fn in_the_users_words(failure: Failure, temporary: &Path, path: &Path) -> Failure {
    let ours = escaped(&temporary.display().to_string());
    let own = std::process::id();
    let theirs = path.display().to_string();
    let names = [format!("{ours}/{FOLDER}.partial-{own}"), format!("{ours}/{FOLDER}"), ours];
    let message = names.iter().fold(failure.message, |message, name| message.replace(name.as_str(), &theirs));
    Failure { message, ..failure }
}

/// A file or folder of ours that the system does not let us write.
pub fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::runtime(med2e3_loaders::error::cannot_write(path, error))
}

/// Temporary files are private by default; results are for whoever the umask allows.
fn readable() -> Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let listing = || folder.path().read_dir().unwrap().count();
        write_file(&path, false, Then::More, |_| Err(Failure::runtime("half-way"))).unwrap_err();
        assert_eq!(listing(), 0, "nothing is left of a failed attempt");
        write_bytes(&path, false, Then::More, b"one").unwrap();
        assert!(write_bytes(&path, false, Then::More, b"two").unwrap_err().message.contains("--force"));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_bytes(&path, true, Then::More, b"two").unwrap();
        assert_eq!((std::fs::read(&path).unwrap().as_slice(), listing()), (b"two".as_slice(), 1));
    }

    #[test]
    fn a_folder_takes_only_a_free_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let fill = |to: &Path| {
            let written = std::fs::create_dir(to).and_then(|()| std::fs::write(to.join("a"), b"x"));
            written.map_err(|error| Failure::runtime(error.to_string()))
        };
        std::fs::create_dir(&path).unwrap();
        write_folder(&path, Then::More, fill).unwrap();
        assert_eq!(std::fs::read(path.join("a")).unwrap(), b"x");
        assert!(write_folder(&path, Then::More, fill).unwrap_err().message.contains("not empty"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
