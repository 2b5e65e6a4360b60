//! Which format a path holds, by content.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::names::{listed, name_of};
use super::{Parts, Problem, VolumeOptions, dicom, images, nifti, nifti_header, npy};

/// Bytes that tell every format: DICOM's marker ends at 132.
const START_BYTES: u64 = 132;

/// Folders below the given one that are searched, and files that are looked at.
const DEPTH_MAX: usize = 16;
const FILES_MAX: usize = 100_000;

/// What a file's first bytes say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Npy,
    Nifti,
    Dicom,
    Image,
    Other,
}

/// Reads whatever `path` holds.
pub(crate) fn read_parts(path: &Path, options: &VolumeOptions) -> Result<Parts, Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| Problem::io("open", &error))?;
    if metadata.is_dir() {
        return read_folder(path, options);
    }
    if !metadata.is_file() {
        return Err(Problem::new("is neither a file nor a folder", "save the volume to a file first"));
    }
    let start = start_of(path)?;
    match format_of(path, &start) {
        Format::Npy => npy::read_file(path, options),
        Format::Nifti => nifti::read_file(&nifti::header_of(path).unwrap_or_else(|| path.to_owned()), options),
        Format::Dicom => dicom::read(&[path.to_owned()][..], options),
        Format::Image => Err(Problem::new("is a single image, not a volume", "give the folder that holds all slices")),
        Format::Other => Err(unknown(metadata.len(), &start)),
    }
}

/// The first bytes of a file, as many as it has.
fn start_of(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut start = Vec::new();
    let file = File::open(path).map_err(|error| Problem::io("open", &error))?;
    file.take(START_BYTES).read_to_end(&mut start)?;
    Ok(start)
}

/// The format that `start`, the first bytes of `path`, says.
fn format_of(path: &Path, start: &[u8]) -> Format {
    if start.starts_with(npy::MAGIC) {
        Format::Npy
    } else if start.get(128..132) == Some(b"DICM") {
        Format::Dicom
    } else if is_image(start) {
        Format::Image
    } else if nifti_header::sniff(start).is_some()
        || nifti::header_of(path).is_some()
        || (start.starts_with(nifti::GZIP_MAGIC) && nifti::is_gzipped_nifti(path))
    {
        Format::Nifti
    } else {
        Format::Other
    }
}

/// Whether `start`, the first bytes of a file, are those of a PNG or JPEG image.
fn is_image(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(&[0xff, 0xd8, 0xff])
}

/// A file that is none of ours.
fn unknown(len: u64, start: &[u8]) -> Problem {
    let remedy = "give a .npy, NIfTI or DICOM file, or a folder of DICOM files or of PNG or JPEG slices";
    if len == 0 {
        return Problem::cut_short("is empty (0 bytes)");
    }
    if start.starts_with(b"PK\x03\x04") {
        return Problem::new("is a zip archive (an .npz perhaps)", "unpack it and give the file inside");
    }
    if start.starts_with(nifti::GZIP_MAGIC) {
        return Problem::new("is a gzip file that holds no NIfTI volume, or is damaged", remedy);
    }
    let shown = start[..start.len().min(8)].escape_ascii();
    Problem::new(format!("is of no known volume format ({len} bytes that start with \"{shown}\")"), remedy)
}

/// Reads a folder: DICOM files at any depth, or the slices that it holds itself.
fn read_folder(folder: &Path, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut files = Vec::new();
    list(folder, DEPTH_MAX, &mut files)?;
    files.sort();
    let mut slices: Vec<PathBuf> = Vec::new();
    let mut dicoms: Vec<PathBuf> = Vec::new();
    let mut others: Vec<String> = Vec::new();
    let mut deeper = None;
    for file in &files {
        // What cannot be opened may be a slice, so the reader of slices must see it.
        let format = start_of(file).map_or(Format::Dicom, |start| format_of(file, &start));
        match format {
            Format::Image if file.parent() == Some(folder) => slices.push(file.clone()),
            Format::Image => deeper = file.parent(),
            Format::Dicom => dicoms.push(file.clone()),
            _ => others.push(name_of(file)),
        }
    }
    let read = if !dicoms.is_empty() {
        others.extend(slices.iter().map(name_of));
        Some(dicom::read(&dicoms[..], options)?)
    } else if !slices.is_empty() {
        Some(images::read_files(&slices, options)?)
    } else {
        None
    };
    if let Some(mut parts) = read {
        if !others.is_empty() {
            let count = others.len();
            let note = format!("{count} files of the folder are no slices and were ignored: {}", listed(&others));
            parts.info.notes.push(note);
        }
        return Ok(parts);
    }
    if let Some(deeper) = deeper {
        let finding = format!("holds no slices itself, but {} does", deeper.display());
        return Err(Problem::new(finding, "give that folder"));
    }
    let finding = format!("is a folder of {} files without a DICOM file or PNG or JPEG slice", files.len());
    Err(Problem::new(finding, "give a folder of slices, or the volume's file itself"))
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
