//! Headers that are lines of text, before the voxels or in a file of their own: those of NRRD and MetaImage.

use std::io::{BufRead, BufReader, Read};

use super::Problem;
use super::files::{Files, Stream};

/// Longest header that is read; those with a line for each of a thousand keys take 100 KB.
const HEADER_BYTES_MAX: u64 = 1 << 20;
/// Longest text from a file that is shown in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// The lines of a header, and then the bytes behind them.
pub(crate) struct Lines<'a> {
    bytes: BufReader<Box<dyn Read + 'a>>,
    name: String,
    left: u64,
    taken: u64,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(stream: Stream<'a>) -> Self {
        let Stream { name, bytes, len } = stream;
        Self { bytes: BufReader::new(bytes), name, left: len, taken: 0 }
    }

    /// The next line without its end, bytes that are no UTF-8 replaced; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<String>, Problem> {
        let mut line = Vec::new();
        let allowed = HEADER_BYTES_MAX - self.taken;
        let count = self.bytes.by_ref().take(allowed).read_until(b'\n', &mut line)? as u64;
        self.taken += count;
        self.left = self.left.saturating_sub(count);
        if self.taken == HEADER_BYTES_MAX {
            let finding = format!("has a header of more than {HEADER_BYTES_MAX} bytes");
            return Err(Problem::new(finding, "write the file again without what is not needed"));
        }
        let text = String::from_utf8_lossy(&line);
        Ok((count > 0).then(|| text.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// What follows the lines that were read.
    pub(crate) fn rest(self) -> Stream<'a> {
        Stream { name: self.name, bytes: Box::new(self.bytes), len: self.left }
    }
}

/// Opens the file that a header names for its voxels; `save_as` is the remedy where the header names several.
pub(crate) fn detached<'a, F: Files + ?Sized>(
    files: &'a F,
    header: usize,
    name: &str,
    save_as: &'static str,
) -> Result<Stream<'a>, Problem> {
    if name == "LIST" || name.starts_with("LIST ") || name.contains('%') {
        let finding = format!("spreads its voxels over several files ({:?})", shown(name));
        return Err(Problem::new(finding, save_as));
    }
    files.beside(header, name)?.ok_or_else(|| {
        let finding = format!("names {:?} for its voxels, which is not there", shown(name));
        Problem::new(finding, "put that file beside the header")
    })
}

/// Fields of a header by their names.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Adds a field; a second one of the same name could be meant as well as the first.
    pub(crate) fn add(&mut self, name: String, value: &str) -> Result<(), Problem> {
        if self.get(&name).is_some() {
            let finding = format!("has the field {:?} twice", shown(&name));
            return Err(Problem::new(finding, "remove one of the two"));
        }
        self.0.push((name, value.trim().to_owned()));
        Ok(())
    }

    /// The text of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The text of the first of several names of a field.
    pub(crate) fn any(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }

    /// The text of a field that every file has.
    pub(crate) fn need(&self, name: &str) -> Result<&str, Problem> {
        self.get(name).ok_or_else(|| Problem::new(format!("has no field {name:?} in its header"), REWRITE))
    }

    /// The finite numbers of a field, as many as `count`.
    pub(crate) fn numbers(&self, name: &str, count: usize) -> Result<Option<Vec<f64>>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let numbers: Option<Vec<f64>> = text.split_whitespace().map(number).collect();
        match numbers.filter(|numbers| numbers.len() == count) {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(odd(name, text, &format!("{count} numbers"))),
        }
    }

    /// The lengths of the axes.
    pub(crate) fn sizes(&self, name: &str, count: usize) -> Result<Vec<u64>, Problem> {
        let text = self.need(name)?;
        let sizes: Option<Vec<u64>> = text.split_whitespace().map(|size| size.parse().ok()).collect();
        let sizes = sizes.filter(|sizes| sizes.len() == count && !sizes.contains(&0));
        sizes.ok_or_else(|| odd(name, text, &format!("{count} whole numbers of 1 or more")))
    }
}

/// What is done about a header that cannot be meant.
pub(crate) const REWRITE: &str = "write the file again with a current tool";

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// A field whose text is not what it must be.
pub(crate) fn odd(name: &str, text: &str, wanted: &str) -> Problem {
    Problem::new(format!("has {:?} in the field {name:?}, wanted {wanted}", shown(text)), REWRITE)
}

/// The start of a text, for a message.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}
