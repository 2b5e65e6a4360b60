//! Where the bytes of a scan's files come from: paths, or memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Component, Path, PathBuf};

use super::Problem;

/// Largest file that is read whole.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// The bytes of one file, as they come.
pub(crate) struct Stream<'a> {
    /// The name to tell the user.
    pub(crate) name: String,
    pub(crate) bytes: Box<dyn Read + 'a>,
    /// How many there are.
    pub(crate) len: u64,
}

/// Files that together may be a scan.
pub(crate) trait Files: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// The name to tell the user.
    fn name(&self, file: usize) -> String;
    /// Bytes that its content takes, 0 where that is not known.
    fn size(&self, file: usize) -> u64;
    /// The content.
    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem>;
    /// The content from its start on.
    fn stream(&self, file: usize) -> Result<Stream<'_>, Problem>;
    /// The file that a header calls `name`, in the folder of the header `file`; `None` where it is not there. A name
    /// that leads out of that folder is refused.
    fn beside(&self, file: usize, name: &str) -> Result<Option<Stream<'_>>, Problem>;

    /// The first bytes, at most `count`.
    fn start(&self, file: usize, count: u64) -> Result<Vec<u8>, Problem> {
        let mut start = Vec::new();
        self.stream(file)?.bytes.take(count).read_to_end(&mut start)?;
        Ok(start)
    }
}

impl Files for [PathBuf] {
    fn count(&self) -> usize {
        self.len()
    }

    fn name(&self, file: usize) -> String {
        self[file].display().to_string()
    }

    fn size(&self, file: usize) -> u64 {
        std::fs::metadata(&self[file]).map_or(0, |metadata| metadata.len())
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        let bytes = std::fs::metadata(&self[file])?.len();
        if bytes > FILE_BYTES_MAX {
            let finding = format!("holds {bytes} bytes, more than {FILE_BYTES_MAX}");
            return Err(Problem::new(finding, "split it into several files"));
        }
        Ok(Cow::Owned(std::fs::read(&self[file])?))
    }

    fn stream(&self, file: usize) -> Result<Stream<'_>, Problem> {
        open(&self[file])
    }

    fn beside(&self, file: usize, name: &str) -> Result<Option<Stream<'_>>, Problem> {
        let within = relative(name)?;
        let folder = match self[file].parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let path = folder.join(within);
        // A link may lead anywhere, so the name alone does not tell.
        let real = match (path.canonicalize(), folder.canonicalize()) {
            (Ok(real), Ok(folder)) if real.starts_with(&folder) => real,
            (Ok(_), Ok(_)) => return Err(leads_outside(name)),
            (Err(error), _) if is_absent(&error) => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(Problem::io("open", &error).blame(path)),
        };
        if !real.is_file() {
            let finding = format!("names {name:?} for its voxels, which is no regular file");
            return Err(Problem::new(finding, "put the file of its voxels beside it"));
        }
        open(&path).map(Some).map_err(|problem| problem.blame(path))
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn open(path: &Path) -> Result<Stream<'static>, Problem> {
    let file = File::open(path).map_err(|error| Problem::io("open", &error))?;
    let len = file.metadata()?.len();
    Ok(Stream { name: path.display().to_string(), bytes: Box::new(BufReader::new(file)), len })
}

/// `name` as a way down from a folder.
pub(crate) fn relative(name: &str) -> Result<&Path, Problem> {
    let path = Path::new(name);
    let down = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if down && !name.is_empty() && !name.contains('\0') { Ok(path) } else { Err(leads_outside(name)) }
}

fn leads_outside(name: &str) -> Problem {
    let finding = format!("names the file {name:?}, which is outside of its own folder");
    Problem::new(finding, "put the file beside it, and name it there without folders")
}

/// Some of other files.
pub(crate) struct Subset<'a, F: ?Sized> {
    pub(crate) files: &'a F,
    /// Their places among the others.
    pub(crate) kept: Vec<usize>,
}

impl<F: Files + ?Sized> Files for Subset<'_, F> {
    fn count(&self) -> usize {
        self.kept.len()
    }

    fn name(&self, file: usize) -> String {
        self.files.name(self.kept[file])
    }

    fn size(&self, file: usize) -> u64 {
        self.files.size(self.kept[file])
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        self.files.bytes(self.kept[file])
    }

    fn stream(&self, file: usize) -> Result<Stream<'_>, Problem> {
        self.files.stream(self.kept[file])
    }

    fn beside(&self, file: usize, name: &str) -> Result<Option<Stream<'_>>, Problem> {
        self.files.beside(self.kept[file], name)
    }
}

/// One file in memory.
pub(crate) struct InMemory<'a> {
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a [u8],
}

impl Files for InMemory<'_> {
    fn count(&self) -> usize {
        1
    }

    fn name(&self, _: usize) -> String {
        self.name.to_owned()
    }

    fn size(&self, _: usize) -> u64 {
        self.bytes.len() as u64
    }

    fn bytes(&self, _: usize) -> Result<Cow<'_, [u8]>, Problem> {
        Ok(Cow::Borrowed(self.bytes))
    }

    fn stream(&self, _: usize) -> Result<Stream<'_>, Problem> {
        Ok(Stream { name: self.name.to_owned(), bytes: Box::new(self.bytes), len: self.bytes.len() as u64 })
    }

    fn beside(&self, _: usize, _: &str) -> Result<Option<Stream<'_>>, Problem> {
        Ok(None)
    }
}

impl Files for [(String, Vec<u8>)] {
    fn count(&self) -> usize {
        self.len()
    }

    fn name(&self, file: usize) -> String {
        self[file].0.clone()
    }

    fn size(&self, file: usize) -> u64 {
        self[file].1.len() as u64
    }

    fn bytes(&self, file: usize) -> Result<Cow<'_, [u8]>, Problem> {
        Ok(Cow::Borrowed(&self[file].1))
    }

    fn stream(&self, file: usize) -> Result<Stream<'_>, Problem> {
        let (name, bytes) = &self[file];
        Ok(Stream { name: name.clone(), bytes: Box::new(&bytes[..]), len: bytes.len() as u64 })
    }

    fn beside(&self, _: usize, name: &str) -> Result<Option<Stream<'_>>, Problem> {
        relative(name)?;
        let found = self.iter().position(|(other, _)| other == name);
        found.map(|found| self.stream(found)).transpose()
    }
}
