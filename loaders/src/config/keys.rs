//! Typed access to the keys of one part of the configuration, which several objects may describe.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Most rows of any position table or sequence.
pub(super) const POSITIONS_MAX: usize = 1 << 24;
/// Widest hidden state.
pub(super) const WIDTH_MAX: usize = 1 << 16;
/// Widest inner layer of an MLP.
pub(super) const INNER_MAX: usize = 1 << 18;
/// Most layers of a network.
pub(super) const LAYERS_MAX: usize = 1 << 10;
/// Most attention heads.
pub(super) const HEADS_MAX: usize = 1 << 10;
/// Largest vocabulary.
pub(super) const VOCABULARY_MAX: usize = 1 << 22;

/// One JSON object, and what to call it in messages.
#[derive(Clone)]
pub(super) struct Source<'a> {
    path: &'a Path,
    /// Put before a key's name, e.g. `llm_config.`.
    prefix: &'a str,
    object: &'a Map<String, Value>,
}

impl<'a> Source<'a> {
    pub(super) fn new(path: &'a Path, prefix: &'a str, object: &'a Map<String, Value>) -> Self {
        Self { path, prefix, object }
    }
}

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub value: &'a Value,
    path: &'a Path,
    prefix: &'a str,
    key: &'a str,
}

impl Found<'_> {
    /// An error about this value; `wanted` completes "but we run ...".
    pub(super) fn refuse(&self, wanted: &str) -> Error {
        let finding = format!("has {}{} {}, but we run {wanted}", self.prefix, self.key, shown(self.value));
        Error::bad_input(self.path, finding, "use a model of that kind, or correct the file")
    }
}

/// The objects that describe one part, the most specific last.
pub(super) struct Keys<'a> {
    sources: Vec<Source<'a>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(sources: Vec<Source<'a>>) -> Self {
        Self { sources }
    }

    /// The keys of a part: the object embedded under `key`, and the part's own file.
    pub(super) fn part(
        &self,
        key: &'a str,
        prefix: &'a str,
        file: Option<&'a (PathBuf, Map<String, Value>)>,
    ) -> Result<Keys<'a>> {
        let mut sources = self.object(key, prefix)?.map_or_else(Vec::new, |keys| keys.sources);
        if let Some((path, object)) = file {
            sources.push(Source::new(path, "", object));
        }
        if sources.is_empty() {
            return Err(self.bad(format!("lacks {key}"), "add it, or the part's own config.json"));
        }
        Ok(Keys { sources })
    }

    /// The keys of an object inside this one, if it is there.
    pub(super) fn object(&self, key: &'a str, prefix: &'a str) -> Result<Option<Keys<'a>>> {
        let Some(found) = self.find(key)? else { return Ok(None) };
        let object = found.value.as_object().ok_or_else(|| found.refuse("an object there"))?;
        Ok(Some(Keys { sources: vec![Source::new(found.path, prefix, object)] }))
    }

    /// The same files, one object further in where they have it.
    pub(super) fn descend(&self, key: &str, prefix: &'a str) -> Keys<'a> {
        let inner = |source: &Source<'a>| match source.object.get(key).and_then(Value::as_object) {
            Some(object) => Source { path: source.path, prefix, object },
            None => source.clone(),
        };
        Keys { sources: self.sources.iter().map(inner).collect() }
    }

    /// The same files, each with its object under `key` beside it: a value may stand in either, and must be the same.
    pub(super) fn with_inner(&self, key: &str, prefix: &'a str) -> Keys<'a> {
        let inner = |source: &Source<'a>| {
            let object = source.object.get(key).and_then(Value::as_object)?;
            Some(Source { path: source.path, prefix, object })
        };
        Keys { sources: self.sources.iter().filter_map(inner).chain(self.sources.iter().cloned()).collect() }
    }

    /// An error about the file that was expected to say it.
    pub(super) fn bad(&self, finding: impl Into<String>, remedy: &str) -> Error {
        Error::bad_input(self.sources[0].path, finding, remedy)
    }

    /// Every place where `key` stands; null is as good as absent.
    pub(super) fn all(&self, key: &'a str) -> impl Iterator<Item = Found<'a>> {
        self.sources.iter().filter_map(move |source| {
            let value = source.object.get(key).filter(|value| !value.is_null())?;
            Some(Found { value, path: source.path, prefix: source.prefix, key })
        })
    }

    /// The value of `key`, on which all files must agree.
    pub(super) fn find(&self, key: &'a str) -> Result<Option<Found<'a>>> {
        let mut all = self.all(key);
        let first = all.next();
        if let Some(first) = first
            && let Some(second) = all.find(|other| !same(first.value, other.value))
        {
            let finding = format!(
                "has {}{key} {}, but {} has {}",
                first.prefix,
                shown(first.value),
                second.path.display(),
                shown(second.value)
            );
            return Err(Error::bad_input(first.path, finding, "make the two agree"));
        }
        Ok(first)
    }

    fn required<T>(&self, key: &str, found: Option<T>, default: Option<T>) -> Result<T> {
        found.or(default).ok_or_else(|| {
            let prefix = self.sources[0].prefix;
            self.bad(format!("lacks {prefix}{key}"), "add the key, or fetch the file again")
        })
    }

    /// A whole number within `range`.
    pub(super) fn size(&self, key: &'a str, default: Option<usize>, range: RangeInclusive<usize>) -> Result<usize> {
        let found = self.optional_size(key, range)?;
        self.required(key, found, default)
    }

    pub(super) fn optional_size(&self, key: &'a str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        self.find(key)?.map(|found| size_of(&found, &range)).transpose()
    }

    /// Three whole numbers within `range`.
    pub(super) fn sizes3(&self, key: &'a str, default: [usize; 3], range: RangeInclusive<usize>) -> Result<[usize; 3]> {
        let Some(found) = self.find(key)? else { return Ok(default) };
        let wanted = || found.refuse(&format!("three whole numbers from {} to {}", range.start(), range.end()));
        let list = found.value.as_array().filter(|list| list.len() == 3).ok_or_else(wanted)?;
        let mut sizes = [0; 3];
        for (size, value) in sizes.iter_mut().zip(list) {
            *size = whole(value).filter(|size| range.contains(size)).ok_or_else(wanted)?;
        }
        Ok(sizes)
    }

    /// A whole number that may be negative.
    pub(super) fn index(&self, key: &'a str, default: i64) -> Result<i64> {
        let found = self.find(key)?;
        found.map_or(Ok(default), |found| found.value.as_i64().ok_or_else(|| found.refuse("a whole number there")))
    }

    /// A positive number below `limit`.
    pub(super) fn number(&self, key: &'a str, default: Option<f64>, limit: f64) -> Result<f32> {
        let found = self.find(key)?.map(|found| {
            let number = found.value.as_f64().filter(|&number| number > 0.0 && number < limit);
            number.ok_or_else(|| found.refuse(&format!("a number above 0 and below {limit}")))
        });
        Ok(self.required(key, found.transpose()?, default)? as f32)
    }

    pub(super) fn text(&self, key: &'a str, default: Option<&'a str>) -> Result<&'a str> {
        let found = self.find(key)?;
        let text = found.map(|found| found.value.as_str().ok_or_else(|| found.refuse("a text there"))).transpose()?;
        self.required(key, text, default)
    }

    /// Checks that `key` has one of the values that we run.
    pub(super) fn one_of(&self, key: &'a str, run: &[&str], default: Option<&'a str>) -> Result<()> {
        let text = self.text(key, default)?;
        match self.find(key)? {
            Some(found) if !run.contains(&text) => Err(found.refuse(&run.join(", "))),
            _ => Ok(()),
        }
    }

    /// Checks that `key`, where present, is the number that we run.
    pub(super) fn exactly(&self, key: &'a str, run: f64) -> Result<()> {
        match self.find(key)? {
            Some(found) if found.value.as_f64() != Some(run) => Err(found.refuse(&run.to_string())),
            _ => Ok(()),
        }
    }

    pub(super) fn flag(&self, key: &'a str, default: bool) -> Result<bool> {
        let found = self.find(key)?;
        found.map_or(Ok(default), |found| found.value.as_bool().ok_or_else(|| found.refuse("true or false there")))
    }

    /// Checks that none of `keys` is set: no file has one, or it has false.
    pub(super) fn absent(&self, keys: &'a [&'a str]) -> Result<()> {
        for key in keys {
            if let Some(found) = self.find(key)?.filter(|found| *found.value != Value::Bool(false)) {
                return Err(found.refuse("models without it"));
            }
        }
        Ok(())
    }

    /// Checks that `object.key`, where present, is `want`.
    pub(super) fn width(&self, object: &'a str, key: &'a str, want: usize) -> Result<()> {
        let Some(found) = self.find(object)? else { return Ok(()) };
        match found.value.get(key) {
            Some(value) if !value.is_null() && whole(value) != Some(want) => {
                let finding = format!("has {object}.{key} {}, but the network beside it has {want}", shown(value));
                Err(self.bad(finding, "make the two agree"))
            }
            _ => Ok(()),
        }
    }
}

/// The number in `found`, if it lies within `range`.
pub(super) fn size_of(found: &Found, range: &RangeInclusive<usize>) -> Result<usize> {
    let size = whole(found.value).filter(|size| range.contains(size));
    size.ok_or_else(|| found.refuse(&format!("a whole number from {} to {}", range.start(), range.end())))
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|value| usize::try_from(value).ok())
}

/// Whether two files say the same; 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

/// A value as it stands in the file, cut to a readable length.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((cut, _)) => format!("{}...", &text[..cut]),
        None => text,
    }
}
