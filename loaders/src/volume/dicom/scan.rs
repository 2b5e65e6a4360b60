//! Every file of a folder looked at: images, copies of them, damaged ones, and files that are not images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::super::Problem;
use super::super::files::Files;
use super::super::names::{listed, name_of};
use super::image::{Header, Identity, Part10, Rejection, SeriesKey};
use super::volumes::Chosen;

/// Most slices of all files together: 40 phases of 3200 slices. A slice costs up to 300 bytes before it is read.
const SLICES_MAX: usize = 1 << 17;

/// Bytes of the files that are held at one time; a larger file is held alone.
const HELD_BYTES_MAX: u64 = 512 << 20;

/// A file that holds images.
pub(crate) struct Scanned {
    /// Its place among all files.
    pub(crate) file: usize,
    pub(crate) name: String,
    pub(crate) header: Header,
}

/// A file that should hold an image and does not.
pub(crate) struct Broken {
    /// The series that it belongs to, if that much can be read.
    pub(crate) series: Option<SeriesKey>,
    /// What is wrong with it, with its name.
    pub(crate) problem: Problem,
}

/// What the files hold.
pub(crate) struct Scan {
    pub(crate) images: Vec<Scanned>,
    pub(crate) broken: Vec<Broken>,
    pub(crate) notes: Vec<String>,
}

/// What one file holds.
enum Found {
    Image(Box<Header>),
    NotAnImage(Problem),
    Broken(Option<Identity>, Problem),
}

/// Ranges of files that may be held together.
pub(crate) fn batches(sizes: impl Iterator<Item = u64>) -> Vec<Range<usize>> {
    let mut batches: Vec<Range<usize>> = Vec::new();
    let mut held = 0u64;
    for (file, bytes) in sizes.enumerate() {
        held = held.saturating_add(bytes);
        match batches.last_mut().filter(|_| held <= HELD_BYTES_MAX) {
            Some(batch) => batch.end = file + 1,
            None => {
                held = bytes;
                batches.push(file..file + 1);
            }
        }
    }
    batches
}

/// Reads the header of every file. Copies count once, and files that are not images are noted.
pub(crate) fn scan<F: Files + ?Sized>(files: &F) -> Result<Scan, Problem> {
    let slices = AtomicUsize::new(0);
    let look = |file: usize| match look(files, file) {
        Found::Image(header) if slices.fetch_add(header.frames.len(), Ordering::Relaxed) >= SLICES_MAX => {
            Found::Broken(None, too_many_slices())
        }
        found => found,
    };
    let mut found = Vec::new();
    for batch in batches((0..files.count()).map(|file| files.size(file))) {
        found.par_extend(batch.into_par_iter().map(look));
    }
    if slices.into_inner() > SLICES_MAX {
        return Err(too_many_slices());
    }
    let mut images = Vec::new();
    let mut broken = Vec::new();
    let mut others = Vec::new();
    for (file, found) in found.into_iter().enumerate() {
        let name = files.name(file);
        match found {
            Found::Image(header) => images.push(Scanned { file, name, header: *header }),
            Found::NotAnImage(problem) => others.push(problem.blame(name)),
            Found::Broken(_, problem) if problem.is_out_of_memory() => return Err(problem.blame(name)),
            Found::Broken(identity, problem) => broken.push((identity, problem.blame(name))),
        }
    }
    if images.is_empty() {
        let first = broken.into_iter().map(|(_, problem)| problem).chain(others).next();
        return Err(first.unwrap_or_else(|| Problem::new("holds no DICOM image", "give the series of a scan")));
    }
    let mut notes = Vec::new();
    if !others.is_empty() {
        let named: Vec<String> = others.iter().map(Problem::named_finding).collect();
        notes.push(format!("{} files are no slices of a scan and were ignored: {}", others.len(), listed(&named)));
    }
    let images = without_copies(files, images, &mut notes)?;
    let broken = without_damaged_copies(&images, broken, &mut notes);
    Ok(Scan { images, broken, notes })
}

fn too_many_slices() -> Problem {
    Problem::new(format!("holds more than {SLICES_MAX} slices"), "give the folder of one series")
}

fn look<F: Files + ?Sized>(files: &F, file: usize) -> Found {
    let bytes = match files.bytes(file) {
        Ok(bytes) => bytes,
        Err(problem) => return Found::Broken(None, problem),
    };
    let part10 = match Part10::open(&bytes) {
        Ok(part10) => part10,
        Err(Rejection::NotAnImage(problem)) => return Found::NotAnImage(problem),
        Err(Rejection::Broken(problem)) => return Found::Broken(None, problem),
    };
    match part10.image() {
        Ok(image) => Found::Image(Box::new(image.header)),
        Err(Rejection::NotAnImage(problem)) => Found::NotAnImage(problem),
        Err(Rejection::Broken(problem)) => Found::Broken(part10.identity(), problem),
    }
}

/// Leaves out files whose data set is that of an earlier file to the byte. A SOPInstanceUID alone does not make a copy:
/// where the contents differ, one of the files is wrong, and only the user can say which.
fn without_copies<F: Files + ?Sized>(
    files: &F,
    images: Vec<Scanned>,
    notes: &mut Vec<String>,
) -> Result<Vec<Scanned>, Problem> {
    let mut alike: BTreeMap<(&Identity, u64), Vec<usize>> = BTreeMap::new();
    for (index, Scanned { header, .. }) in images.iter().enumerate() {
        alike.entry((&header.identity, header.bytes)).or_default().push(index);
    }
    let alike: Vec<Vec<usize>> = alike.into_values().filter(|alike| alike.len() > 1).collect();
    let copies = alike.par_iter().map(|alike| copies_among(files, &images, alike)).collect::<Result<Vec<_>, _>>()?;
    let copies: BTreeSet<usize> = copies.into_iter().flatten().collect();
    if !copies.is_empty() {
        let names: Vec<String> = copies.iter().map(|&copy| name_of(&images[copy].name)).collect();
        let count = names.len();
        notes.push(format!("{count} files are copies of others, byte for byte, and count once: {}", listed(&names)));
    }
    let kept = images.into_iter().enumerate().filter(|(index, _)| !copies.contains(index));
    Ok(kept.map(|(_, image)| image).collect())
}

/// Those of `alike` whose data set an earlier one of them has too.
fn copies_among<F: Files + ?Sized>(files: &F, images: &[Scanned], alike: &[usize]) -> Result<Vec<usize>, Problem> {
    let data_of = |index: usize| {
        let Scanned { file, name, .. } = &images[index];
        let bytes = files.bytes(*file).map_err(|problem| problem.blame(name))?;
        let part10 = Part10::open(&bytes).map_err(|rejection| rejection.problem().blame(name))?;
        Ok::<Vec<u8>, Problem>(part10.data().to_vec())
    };
    let mut firsts: HashMap<u64, usize> = HashMap::new();
    let mut copies = Vec::new();
    for &index in alike {
        let data = data_of(index)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&data);
        let first = *firsts.entry(hasher.finish()).or_insert(index);
        // Equal sums may still be of different bytes.
        if first != index && images[first].header.syntax == images[index].header.syntax && data_of(first)? == data {
            copies.push(index);
        }
    }
    Ok(copies)
}

/// Leaves out damaged files of which a sound copy is there.
fn without_damaged_copies(
    images: &[Scanned],
    broken: Vec<(Option<Identity>, Problem)>,
    notes: &mut Vec<String>,
) -> Vec<Broken> {
    let sound: HashMap<&Identity, &str> =
        images.iter().map(|image| (&image.header.identity, image.name.as_str())).collect();
    let mut kept = Vec::new();
    for (identity, problem) in broken {
        let named = identity.as_ref().filter(|identity| identity.instance_uid.is_some());
        match named.and_then(|identity| sound.get(identity)) {
            Some(sound) => {
                let copy = problem.named_finding();
                notes.push(format!("a damaged copy of {} was left out: {copy}", name_of(sound)));
            }
            None => kept.push(Broken { series: identity.map(|identity| identity.series), problem }),
        }
    }
    kept
}

/// Why `chosen` cannot be trusted to be what the user means: its own series is damaged, or, where the user did not
/// choose, what is damaged may be the scan and `chosen` only what lay beside it.
pub(crate) fn reason_to_refuse(broken: &[Broken], chosen: &Chosen<'_>) -> Option<Problem> {
    if let Some(own) = broken.iter().find(|broken| broken.series.as_ref() == Some(chosen.volume.series)) {
        return Some(own.problem.clone());
    }
    let mut counts: BTreeMap<Option<&SeriesKey>, usize> = BTreeMap::new();
    for broken in broken {
        *counts.entry(broken.series.as_ref()).or_default() += 1;
    }
    let is_larger = |broken: &&Broken| counts[&broken.series.as_ref()] > chosen.volume.slices.len();
    let doubtful = match (chosen.by_user, chosen.is_only_scan) {
        (true, _) => None,
        (false, true) => broken.iter().find(is_larger),
        (false, false) => broken.first(),
    };
    doubtful.map(|broken| {
        let mut problem = broken.problem.clone();
        problem.remedy.push_str(", or choose one of the volumes that can be read with --index, from 0");
        problem
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_held_in_batches() {
        let half = HELD_BYTES_MAX / 2;
        let ranges = batches([half, half, 1, HELD_BYTES_MAX * 3, 5, u64::MAX].into_iter());
        assert_eq!(ranges, [0..2, 2..3, 3..4, 4..5, 5..6]);
        assert!(batches(std::iter::empty()).is_empty());
    }
}
