//! Which format a path holds, by content.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::files::Files;
use super::names::{listed, name_of};
use super::packed::{GZIP_MAGIC, Source};
use super::{Parts, Problem, VolumeOptions, dicom, images, metaimage, nifti, nifti_header, npy, nrrd};

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
    /// The voxels of a NIfTI pair.
    NiftiVoxels,
    Nrrd,
    MetaImage,
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
    read_file(&[path.to_owned()][..], 0, options)
}

/// Reads one file as a scan.
pub(crate) fn read_file<F: Files + ?Sized>(files: &F, file: usize, options: &VolumeOptions) -> Result<Parts, Problem> {
    let start = files.start(file, START_BYTES)?;
    match format_of(files, file, &start) {
        Format::Npy => npy::read_stream(files.stream(file)?, options),
        Format::Nifti => nifti::read(files, file, options),
        Format::NiftiVoxels => nifti::read_voxels_of_pair(files, file, options),
        Format::Nrrd => nrrd::read(files, file, options),
        Format::MetaImage => metaimage::read(files, file, options),
        Format::Dicom => dicom::read(files, options),
        Format::Image => Err(Problem::new("is a single image, not a volume", "give the folder that holds all slices")),
        Format::Other => Err(unknown(files.size(file), &start)),
    }
}

/// The format that `start`, the first bytes of a file, says.
fn format_of<F: Files + ?Sized>(files: &F, file: usize, start: &[u8]) -> Format {
    if start.starts_with(npy::MAGIC) {
        Format::Npy
    } else if start.get(128..132) == Some(b"DICM") {
        Format::Dicom
    } else if is_image(start) {
        Format::Image
    } else if start.starts_with(nrrd::MAGIC) {
        Format::Nrrd
    } else if nifti_header::sniff(start).is_some() {
        Format::Nifti
    } else if metaimage::sniff(start) {
        Format::MetaImage
    } else if nifti::has_header_beside(files, file) {
        Format::NiftiVoxels
    } else if start.starts_with(GZIP_MAGIC) && nifti_header::sniff(&unpacked_start(files, file)).is_some() {
        Format::Nifti
    } else {
        Format::Other
    }
}

/// The first bytes of a gzip file's content, as far as they can be read.
fn unpacked_start<F: Files + ?Sized>(files: &F, file: usize) -> Vec<u8> {
    let mut start = Vec::new();
    let source = files.stream(file).and_then(Source::by_content);
    // What is damaged is told by whoever reads it.
    let _ = source.map(|source| source.stream.take(START_BYTES).read_to_end(&mut start));
    start
}

/// Whether `start`, the first bytes of a file, are those of a PNG or JPEG image.
fn is_image(start: &[u8]) -> bool {
    start.starts_with(b"\x89PNG\r\n\x1a\n") || start.starts_with(&[0xff, 0xd8, 0xff])
}

/// A file that is none of ours.
fn unknown(len: u64, start: &[u8]) -> Problem {
    let remedy =
        "give a .npy, NIfTI, NRRD, MetaImage or DICOM file, or a folder of DICOM files or of PNG or JPEG slices";
    if len == 0 {
        return Problem::cut_short("is empty (0 bytes)");
    }
    if start.starts_with(b"PK\x03\x04") {
        return Problem::new("is a zip archive (an .npz perhaps)", "unpack it and give the file inside");
    }
    if start.starts_with(GZIP_MAGIC) {
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
        let one = std::slice::from_ref(file);
        let format = one.start(0, START_BYTES).map_or(Format::Dicom, |start| format_of(one, 0, &start));
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
