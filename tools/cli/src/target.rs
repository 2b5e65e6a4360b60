//! What a command may write to: a new name or, with `--force`, a regular file that is not an input.

use std::collections::BTreeSet;
use std::fs::{File, FileType, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use med2e3_loaders::files;

use crate::failure::{Failure, Result};
use crate::streams::note;

/// What unfinished results begin with, beside their final place.
pub const PART_PREFIX: &str = ".engine-cli-";
/// What their names end with.
pub const PART_SUFFIX: &str = ".part";
/// Folders below an input's that are searched for a file under another name, and entries looked at.
const DEPTH_MAX: usize = 16;
const ENTRIES_MAX: usize = 100_000;

/// Refuses, before any work is done, a file that could not be written later, or that must not be.
///
/// A symbolic link is refused with `--force` too: renaming would replace the link, and following it would change a file
/// that the command line does not name.
pub fn check_target(path: &Path, force: bool) -> Result<()> {
    let shown = path.display();
    let refuse = |finding: &str| Err(Failure::usage(format!("{shown}: {finding}")));
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => return refuse("is a folder; give the name of a file to write"),
        Ok(metadata) if !metadata.is_file() => {
            let kind = kind(metadata.file_type());
            return refuse(&format!("is {kind}, which is never replaced; give the name of a new file"));
        }
        Ok(_) if !force => return refuse("exists already; add --force to replace it, or give another name"),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return refuse(&format!("cannot be looked at: {error}; give another name")),
    }
    if path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none() {
        return refuse("names no file; give the name of a file to write");
    }
    check_parent(path)
}

/// Refuses a folder that holds something, before any work is done.
pub fn check_folder_target(path: &Path) -> Result<()> {
    let shown = path.display();
    let refuse = |finding: &str| Err(Failure::usage(format!("{shown}: {finding}")));
    if path.file_name().is_none() {
        return refuse("is no name for a new folder; give one");
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => match path.read_dir() {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return refuse("is not empty; give a new folder");
                }
            }
            Err(error) => return refuse(&format!("cannot be listed: {error}; give a new folder")),
        },
        Ok(metadata) => return refuse(&format!("is {}, not a folder; give a new one", kind(metadata.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return refuse(&format!("cannot be looked at: {error}; give another name")),
    }
    check_parent(path)
}

/// What is not a folder, in words.
fn kind(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "a file",
    }
}

/// Refuses a place in no folder, or in one where nothing may be made.
fn check_parent(path: &Path) -> Result<()> {
    let folder = files::folder_of(path);
    let within = folder.display();
    let finding = match std::fs::metadata(&folder) {
        Ok(metadata) if metadata.is_dir() => {
            let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            match rustix::fs::access(&folder, wanted) {
                Ok(()) => return warn_of_parts(&folder),
                Err(error) => format!("nothing can be made in {within} ({error}); check its permissions"),
            }
        }
        Ok(_) => format!("{within} is no folder; give a place in one"),
        Err(error) if error.kind() == ErrorKind::NotFound => format!("there is no folder {within}; create it first"),
        Err(error) => format!("cannot look into {within}: {error}; check its permissions"),
    };
    Err(Failure::usage(format!("{}: {finding}", path.display())))
}

/// Refuses, whatever `--force` says, to write what was given as input, by any name, or anything in a folder that was.
pub fn check_not_input(target: &Path, input: &Path) -> Result<()> {
    check_outside(target, input)?;
    let same = std::fs::metadata(target).is_ok_and(|target| {
        let mut looked_at = 0;
        holds(input, &target, 0, &mut looked_at)
    });
    if same { Err(is_input(target, input)) } else { Ok(()) }
}

/// As [`check_not_input`], without a search of the folder for links to the target.
pub fn check_outside(target: &Path, input: &Path) -> Result<()> {
    // A path that does not exist is not an input; a place in no folder is refused elsewhere.
    let Some(place) = place(target) else { return Ok(()) };
    let Ok(given) = input.canonicalize() else { return Ok(()) };
    let is_pair = |place: &Path| half_of_pair(place).is_some() && half_of_pair(place) == half_of_pair(&given);
    if place.starts_with(&given) || is_pair(&place) || target.canonicalize().is_ok_and(|at| at.starts_with(&given)) {
        return Err(is_input(target, input));
    }
    Ok(())
}

fn is_input(target: &Path, input: &Path) -> Failure {
    let shown = target.display();
    let given = input.display();
    if input.is_dir() {
        return Failure::usage(format!(
            "{shown}: belongs to {given}, an input, which is never changed; give another place"
        ));
    }
    Failure::usage(format!("{shown}: is the input {given}, which is never changed; give another file to write"))
}

/// Refuses two targets in one place.
pub fn check_distinct(targets: &[&Path]) -> Result<()> {
    let mut places = BTreeSet::new();
    for target in targets {
        if place(target).is_some_and(|place| !places.insert(place)) {
            let shown = target.display();
            return Err(Failure::usage(format!("{shown}: is to be written twice; give each file its own name")));
        }
    }
    Ok(())
}

/// Where `path` is or will be, by the one name that a folder has.
fn place(path: &Path) -> Option<PathBuf> {
    Some(files::folder_of(path).canonicalize().ok()?.join(path.file_name()?))
}

/// A NIfTI pair is read by either name: the path without the ending of a half, where it has one.
fn half_of_pair(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = name.strip_suffix(".hdr").or_else(|| name.strip_suffix(".img"))?;
    Some(path.with_file_name(stem))
}

/// Whether `input` is the file `target`, or a folder that holds it under any name.
fn holds(input: &Path, target: &Metadata, depth: usize, looked_at: &mut usize) -> bool {
    *looked_at += 1;
    let Ok(found) = std::fs::metadata(input) else { return false };
    if !found.is_dir() {
        return (found.dev(), found.ino()) == (target.dev(), target.ino());
    }
    let Ok(entries) = input.read_dir() else { return false };
    depth < DEPTH_MAX
        && entries.flatten().any(|entry| *looked_at < ENTRIES_MAX && holds(&entry.path(), target, depth + 1, looked_at))
}

/// Names, once for each folder, what runs that were killed have left in it: nothing of ours is written there now.
fn warn_of_parts(folder: &Path) -> Result<()> {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut warned = WARNED.lock().unwrap_or_else(PoisonError::into_inner);
    if !warned.insert(folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf())) {
        return Ok(());
    }
    let parts = parts_left(folder);
    if !parts.is_empty() {
        let within = folder.display();
        let names = parts.join(", ");
        note(&format!("warning: {within} holds what runs that were killed have not finished; remove {names}"));
    }
    Ok(())
}

/// The names of unfinished results that no process holds.
fn parts_left(folder: &Path) -> Vec<String> {
    let names = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut left: Vec<String> = names.filter_map(|name| name.into_string().ok()).collect();
    left.retain(|name| {
        let part = name.starts_with(PART_PREFIX).then(|| name.split_inclusive(PART_SUFFIX).next()).flatten();
        part.is_some_and(|part| part.ends_with(PART_SUFFIX) && !is_held(&folder.join(part)))
    });
    left.sort();
    left
}

/// Whether another run is writing there: it holds a lock on what it writes for as long as it lives.
fn is_held(part: &Path) -> bool {
    // Opening a pipe would wait for its other end.
    let ours = std::fs::metadata(part).is_ok_and(|found| found.is_file() || found.is_dir());
    let is_locked = |part: File| matches!(part.try_lock(), Err(std::fs::TryLockError::WouldBlock));
    ours && File::open(part).is_ok_and(is_locked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_left_once_nothing_holds_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in
            [".engine-cli-a.part", ".engine-cli-b.part", ".engine-cli-b.part.partial-7", "c.part", ".engine-cli-"]
        {
            std::fs::write(at(name), "").unwrap();
        }
        std::fs::create_dir(at(".engine-cli-d.part")).unwrap();
        let file = File::open(at(".engine-cli-b.part")).unwrap();
        let dir = File::open(at(".engine-cli-d.part")).unwrap();
        file.try_lock().unwrap();
        dir.try_lock().unwrap();
        assert_eq!(parts_left(folder.path()), [".engine-cli-a.part"]);
        drop((file, dir));
        let all = [".engine-cli-a.part", ".engine-cli-b.part", ".engine-cli-b.part.partial-7", ".engine-cli-d.part"];
        assert_eq!(parts_left(folder.path()), all);
    }

    #[test]
    fn a_pair_is_one_input() {
        let half = |name: &str| half_of_pair(Path::new(name));
        assert_eq!(half("a/scan.hdr"), half("a/scan.img"));
        assert_eq!(half("a/scan.HDR"), half("a/scan.img.gz"));
        assert!(half("a/scan.hdr") != half("b/scan.hdr") && half("a/scan.nii").is_none());
    }
}
