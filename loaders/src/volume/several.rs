//! Many files that together are a scan, or of which one is: a folder, or a zip.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::archive::ZipFiles;
use super::detect::{Format, START_BYTES, format_of, read_file};
use super::files::{Files, Subset};
use super::names::{listed, name_of};
use super::{Parts, Problem, VolumeOptions, dicom, images};
use crate::files::folder_of;

/// Folders below the given one that are searched, and files that are looked at.
const DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 100_000;
/// Longest DICOMDIR; a file takes about 500 bytes.
const DIRECTORY_BYTES_MAX: u64 = 256 << 20;

/// Files sorted by what they hold, as places among all of them.
#[derive(Default)]
struct Sorted {
    dicoms: Vec<usize>,
    images: Vec<usize>,
    /// Whole scans.
    scans: Vec<usize>,
    zips: Vec<usize>,
    others: Vec<usize>,
    /// The first that is of a known format which is not read.
    refused: Option<Problem>,
}

impl Sorted {
    fn of<F: Files + ?Sized>(files: &F) -> Self {
        // What cannot be opened may be a slice, so the reader of slices must see it.
        let format =
            |file| files.start(file, START_BYTES).map_or(Format::Dicom, |start| format_of(files, file, &start));
        let formats: Vec<Format> = (0..files.count()).into_par_iter().map(format).collect();
        let mut sorted = Self::default();
        for (file, format) in formats.into_iter().enumerate() {
            match format {
                Format::Dicom => sorted.dicoms.push(file),
                Format::Image => sorted.images.push(file),
                Format::Npy | Format::Nifti | Format::Nrrd | Format::MetaImage => sorted.scans.push(file),
                Format::Zip => sorted.zips.push(file),
                Format::Refused(refusal) => {
                    sorted.refused.get_or_insert_with(|| refusal.problem().blame(files.name(file)));
                    sorted.others.push(file);
                }
                Format::NiftiVoxels => {}
                Format::Other => sorted.others.push(file),
            }
        }
        sorted
    }

    /// Reads the slices, or the only whole scan; `None` where there is neither.
    fn read<F: Files + ?Sized>(&self, files: &F, options: &VolumeOptions) -> Result<Option<Parts>, Problem> {
        let names = |of: &[usize]| of.iter().map(|&file| name_of(files.name(file))).collect::<Vec<String>>();
        let mut others = [&self.others[..], &self.scans, &self.zips].concat();
        let mut parts = if !self.dicoms.is_empty() {
            others.extend(&self.images);
            dicom::read(&Subset { files, kept: self.dicoms.clone() }, options)?
        } else if !self.images.is_empty() {
            images::read(&Subset { files, kept: self.images.clone() }, options)?
        } else {
            return match self.scans[..] {
                [] => Ok(None),
                [only] => {
                    let name = files.name(only);
                    let mut parts = read_file(files, only, options).map_err(|problem| problem.blame(&name))?;
                    parts.info.notes.push(format!("{} was read, the only scan there", name_of(name)));
                    Ok(Some(parts))
                }
                _ => {
                    let finding = format!("holds {} scans: {}", self.scans.len(), listed(&names(&self.scans)));
                    Err(Problem::new(finding, "give one of them"))
                }
            };
        };
        if !others.is_empty() {
            others.sort_unstable();
            let count = others.len();
            let names = listed(&names(&others));
            parts.info.notes.push(format!("{count} files of the folder are no slices and were ignored: {names}"));
        }
        Ok(Some(parts))
    }
}

/// Reads a folder: DICOM files at any depth, or the slices that it holds itself, or the only scan in it.
pub(crate) fn read_folder(folder: &Path, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut files = Vec::new();
    list(folder, DEPTH_MAX, &mut files)?;
    files.sort();
    let files = &files[..];
    let mut sorted = Sorted::of(files);
    let mut deeper = None;
    sorted.images.retain(|&file| {
        let parent = files[file].parent();
        if parent != Some(folder) {
            deeper = parent;
        }
        parent == Some(folder)
    });
    if let Some(parts) = sorted.read(files, options)? {
        return Ok(parts);
    }
    if let Some(deeper) = deeper {
        let finding = format!("holds no slices itself, but {} does", deeper.display());
        return Err(Problem::new(finding, "give that folder"));
    }
    if let Some(zip) = sorted.zips.first() {
        let finding = format!("holds no scan but the zip {}", name_of(&files[*zip]));
        return Err(Problem::new(finding, "give that file"));
    }
    if let Some(refused) = sorted.refused {
        return Err(refused);
    }
    let names: Vec<String> = files.iter().map(name_of).collect();
    let finding = match names.len() {
        0 => "is an empty folder".to_owned(),
        count => format!("is a folder of {count} files without a scan or PNG or JPEG slice: {}", listed(&names)),
    };
    Err(Problem::new(finding, "give a folder of slices, or the volume's file itself"))
}

/// Reads the scan that a DICOMDIR lists, `None` where `path` is another file.
pub(crate) fn read_disc(path: &Path, options: &VolumeOptions) -> Result<Option<Parts>, Problem> {
    let one = [path.to_owned()];
    if !dicom::may_be_directory(&one.start(0, 1024)?) || one.size(0) > DIRECTORY_BYTES_MAX {
        return Ok(None);
    }
    let Some(listed_files) = dicom::files_of(&one.bytes(0)?)? else { return Ok(None) };
    let folder = folder_of(path);
    let mut files = Vec::new();
    let mut absent = Vec::new();
    for parts in &listed_files {
        let path: PathBuf = parts.iter().fold(folder.clone(), |path, part| path.join(part));
        // Systems show the capital letters of a disc as small ones.
        let small: PathBuf = parts.iter().fold(folder.clone(), |path, part| path.join(part.to_lowercase()));
        match [path, small].into_iter().find(|path| path.is_file()) {
            Some(found) => files.push(found),
            None => absent.push(parts.join("/")),
        }
    }
    if files.is_empty() {
        let finding = format!("is a DICOMDIR that lists {} files, of which none is there", listed_files.len());
        return Err(Problem::new(finding, "copy the whole disc, or give the folder of the images"));
    }
    files.sort();
    files.dedup();
    let mut parts = dicom::read(&files[..], options)?;
    if !absent.is_empty() {
        let count = absent.len();
        let names = listed(&absent);
        parts.info.notes.push(format!("{count} files that the DICOMDIR lists are not there: {names}"));
    }
    Ok(Some(parts))
}

/// Reads a zip of one scan.
pub(crate) fn read_zip(zip: &ZipFiles<'_>, options: &VolumeOptions) -> Result<Parts, Problem> {
    if zip.is_npz() {
        let finding = format!("is an .npz of several arrays or one: {}", zip.names());
        return Err(Problem::new(finding, "save the volume with numpy.save, and give that .npy"));
    }
    let sorted = Sorted::of(zip);
    let folders: BTreeSet<&str> = sorted.images.iter().map(|&file| zip.folder(file)).collect();
    if sorted.dicoms.is_empty() && folders.len() > 1 {
        let folders: Vec<String> = folders.into_iter().map(str::to_owned).collect();
        let finding = format!("is a zip with slices in {} folders: {}", folders.len(), listed(&folders));
        return Err(Problem::new(finding, "zip one of these"));
    }
    if let Some(mut parts) = sorted.read(zip, options)? {
        parts.info.format.push_str(" in a zip");
        return Ok(parts);
    }
    if let Some(refused) = sorted.refused {
        return Err(refused);
    }
    let inner = if sorted.zips.is_empty() { "no scan" } else { "no scan, but other zips" };
    let finding = format!("is a zip of {} files with {inner} in it: {}", zip.count(), zip.names());
    Err(Problem::new(finding, "unpack it and give the scan's file or folder"))
}

/// All files below `folder`; links to folders are not followed, so there is no way round in circles.
fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), Problem> {
    let entries = std::fs::read_dir(folder).map_err(|error| Problem::io("list", &error).blame(folder))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_dir() {
            if depth == 0 {
                let finding = format!("has folders more than {DEPTH_MAX} deep");
                return Err(Problem::new(finding, "give the folder of one series").blame(path));
            }
            list(&path, depth - 1, files)?;
        } else if path.is_file() {
            files.push(path);
        }
        if files.len() > FILES_MAX {
            let finding = format!("holds more than {FILES_MAX} files");
            return Err(Problem::new(finding, "give the folder of one series"));
        }
    }
    Ok(())
}
