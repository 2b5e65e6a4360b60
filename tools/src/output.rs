//! What a command writes: text to stdout, and files that appear whole or not at all.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::interrupt::{Unfinished, undisturbed};

/// Whether someone still reads our stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The text was taken.
    Listening,
    /// The pipe is closed, as `head` does it: there is no point in going on, and nothing wrong.
    Gone,
}

/// Writes text to stdout at once.
pub fn print(text: &str) -> Result<Reader> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::runtime(format!("cannot write to stdout: {error}; check where it leads"))),
    }
}

/// Writes a value to stdout as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::runtime(format!("cannot write the result as JSON: {error}")))?;
    print(&(text + "\n")).map(|_| ())
}

/// Writes a line to stderr. A stderr that is closed is not worth failing for.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Refuses, before any work is done, a file that could not be written later.
pub fn check_target(path: &Path, force: bool) -> Result<()> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Failure::usage(format!("{shown}: is a folder; give the name of a file to write")));
    }
    if path.exists() && !force {
        return Err(Failure::usage(format!(
            "{shown}: exists already; add --force to replace it, or give another name"
        )));
    }
    if !parent(path).is_dir() {
        let folder = parent(path);
        return Err(Failure::usage(format!("{shown}: there is no folder {}; create it first", folder.display())));
    }
    Ok(())
}

/// Refuses to replace what was given as input, whatever `--force` says.
pub fn check_not_input(target: &Path, input: &Path) -> Result<()> {
    match (target.canonicalize(), input.canonicalize()) {
        (Ok(target), Ok(input)) if target == input => {
            let shown = input.display();
            Err(Failure::usage(format!("{shown}: is the input, which is never changed; give another file to write")))
        }
        _ => Ok(()),
    }
}

/// Writes a file beside its final place and moves it there once `fill` has written all of it.
pub fn write_file(path: &Path, force: bool, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_target(path, force)?;
    let failed = |error: io::Error| Failure::runtime(format!("{}: cannot be written: {error}", path.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".engine-cli-").suffix(".part").permissions(readable());
    let make = || Ok(builder.tempfile_in(parent(path))?.into_temp_path());
    let (_unfinished, temporary) = Unfinished::make(make).map_err(failed)?;
    fill(&temporary)?;
    let moved = undisturbed(|| if force { temporary.persist(path) } else { temporary.persist_noclobber(path) });
    moved.map_err(|error| failed(error.error))
}

/// As [`write_file`], for bytes at hand.
pub fn write_bytes(path: &Path, force: bool, bytes: &[u8]) -> Result<()> {
    write_file(path, force, |temporary| {
        std::fs::write(temporary, bytes)
            .map_err(|error| Failure::runtime(format!("{}: cannot be written: {error}", path.display())))
    })
}

/// Has `fill` make a folder beside its final place and moves it there once it is done. The place must be free: nothing
/// there, or an empty folder.
pub fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    check_folder_target(path)?;
    let failed = |error: io::Error| Failure::runtime(format!("{}: cannot be written: {error}", path.display()));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".engine-cli-").suffix(".part");
    let (_unfinished, temporary) = Unfinished::make(|| builder.tempdir_in(parent(path))).map_err(failed)?;
    let folder = temporary.path().join("folder");
    fill(&folder)?;
    // Ctrl-C removes what is in the folder piece by piece: what is left must not move.
    undisturbed(|| std::fs::rename(&folder, path)).map_err(failed)
}

/// Refuses a folder that holds something, before any work is done.
pub fn check_folder_target(path: &Path) -> Result<()> {
    let shown = path.display();
    if let Ok(mut entries) = path.read_dir() {
        if entries.next().is_some() {
            return Err(Failure::usage(format!("{shown}: is not empty; give a new folder")));
        }
    } else if path.exists() {
        return Err(Failure::usage(format!("{shown}: is not a folder that can be listed; give a new one")));
    }
    if !parent(path).is_dir() {
        let folder = parent(path);
        return Err(Failure::usage(format!("{shown}: there is no folder {}; create it first", folder.display())));
    }
    Ok(())
}

/// The folder that holds or will hold `path`.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
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
        write_file(&path, false, |_| Err(Failure::runtime("half-way"))).unwrap_err();
        assert_eq!(listing(), 0, "nothing is left of a failed attempt");
        write_bytes(&path, false, b"one").unwrap();
        assert!(write_bytes(&path, false, b"two").unwrap_err().message.contains("--force"));
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write_bytes(&path, true, b"two").unwrap();
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
        write_folder(&path, fill).unwrap();
        assert_eq!(std::fs::read(path.join("a")).unwrap(), b"x");
        assert!(write_folder(&path, fill).unwrap_err().message.contains("not empty"));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
