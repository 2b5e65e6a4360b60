//! Which format a path holds, by content.

use std::io::Read;
use std::path::Path;

use rawzip::FileReader;

use crate::files;

use super::archive::{self, ZipFiles};
use super::files::{Files, InMemory};
use super::packed::{GZIP_MAGIC, Source};
use super::{Parts, Problem, VolumeOptions, dicom, metaimage, nifti, nifti_header, npy, nrrd, several};

/// Bytes that tell every format: tar's mark ends at 262, DICOM's at 132.
pub(crate) const START_BYTES: u64 = 262;

/// What a file's first bytes say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Npy,
    Nifti,
    /// The voxels of a NIfTI pair.
    NiftiVoxels,
    Nrrd,
    MetaImage,
    Dicom,
    Image,
    Zip,
    /// A scan that is known and not read.
    Refused(&'static Refusal),
    Other,
}

/// A format that is refused by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    finding: &'static str,
    remedy: &'static str,
}

const MGH: Refusal = Refusal {
    finding: "is a FreeSurfer volume (MGH or MGZ), which is not read here",
    remedy: "convert it to NIfTI with mri_convert, and give that file",
};
const TIFF: Refusal = Refusal {
    finding: "is a TIFF, which does not say how the body lies and is not read here",
    remedy: "give the scan that it was made from, or a folder of PNG slices named 0.png, 1.png, ...",
};
const LFS_POINTER: Refusal = Refusal { finding: files::LFS_FINDING, remedy: files::LFS_REMEDY };
const TAR: Refusal = Refusal { finding: "is a tar archive", remedy: "unpack it and give the folder" };
const HDF5: Refusal = Refusal {
    finding: "is an HDF5 file (MINC 2 or MATLAB perhaps), which is not read here",
    remedy: "convert the volume to NIfTI, and give that file",
};

/// Formats that begin with certain bytes and are refused by name.
static REFUSED: [(&[u8], &Refusal); 7] = [
    (files::LFS_POINTER, &LFS_POINTER),
    (b"II*\0", &TIFF),
    (b"MM\0*", &TIFF),
    (b"II+\0", &TIFF),
    (b"MM\0+", &TIFF),
    (b"\x89HDF\r\n\x1a\n", &HDF5),
    (b"CDF\x01", &HDF5),
];

impl Refusal {
    pub(crate) fn problem(&self) -> Problem {
        Problem::new(self.finding, self.remedy)
    }
}

/// Whether `start` begins an MGH file: version 1, four sizes, and a type below 16, each of 32 bits, big-endian.
fn is_mgh(start: &[u8]) -> bool {
    let (words, _) = start.as_chunks::<4>();
    let words: Vec<u32> = words.iter().take(6).map(|word| u32::from_be_bytes(*word)).collect();
    let &[1, x, y, z, frames, kind] = &words[..] else { return false };
    kind < 16 && [x, y, z, frames].iter().all(|size| (1..1 << 16).contains(size))
}

/// Reads whatever `path` holds.
pub(crate) fn read_parts(path: &Path, options: &VolumeOptions) -> Result<Parts, Problem> {
    let metadata = std::fs::metadata(path).map_err(|error| Problem::io("open", &error))?;
    if metadata.is_dir() {
        return several::read_folder(path, options);
    }
    if !metadata.is_file() {
        return Err(Problem::new("is neither a file nor a folder", "save the volume to a file first"));
    }
    let file = [path.to_owned()];
    if file.start(0, START_BYTES)?.starts_with(archive::MAGIC) {
        let zip = std::fs::File::open(path).map_err(|error| Problem::io("open", &error))?;
        let zip = ZipFiles::open(&path.display().to_string(), Box::new(FileReader::from(zip)), metadata.len())?;
        return several::read_zip(&zip, options);
    }
    match several::read_disc(path, options)? {
        Some(parts) => Ok(parts),
        None => read_file(&file[..], 0, options),
    }
}

/// Reads the bytes of one file.
pub(crate) fn read_bytes(name: &str, bytes: &[u8], options: &VolumeOptions) -> Result<Parts, Problem> {
    if bytes.starts_with(archive::MAGIC) {
        let zip = ZipFiles::open(name, Box::new(bytes), bytes.len() as u64)?;
        return several::read_zip(&zip, options);
    }
    read_file(&InMemory { name, bytes }, 0, options)
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
        Format::Zip => Err(Problem::new("is a zip within another one", "unpack it and give the folder")),
        Format::Refused(refusal) => Err(refusal.problem()),
        Format::Other => Err(unknown(files.size(file), &start)),
    }
}

/// The format that `start`, the first bytes of a file, says.
pub(crate) fn format_of<F: Files + ?Sized>(files: &F, file: usize, start: &[u8]) -> Format {
    if start.starts_with(npy::MAGIC) {
        Format::Npy
    } else if dicom::sniff(start) {
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
    } else if start.starts_with(archive::MAGIC) {
        Format::Zip
    } else if let Some((_, refusal)) = REFUSED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Format::Refused(refusal)
    } else if is_mgh(start) {
        Format::Refused(&MGH)
    } else if start.starts_with(GZIP_MAGIC) {
        packed_format(&unpacked_start(files, file))
    } else {
        Format::Other
    }
}

/// The format of what a gzip file holds, by its first bytes.
fn packed_format(start: &[u8]) -> Format {
    if nifti_header::sniff(start).is_some() {
        Format::Nifti
    } else if is_mgh(start) {
        Format::Refused(&MGH)
    } else if start.get(257..262) == Some(b"ustar") {
        Format::Refused(&TAR)
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

/// Whether `start` begins with an element of group 8 and its type, in either byte order, as DICOM's data sets do.
fn is_bare_dataset(start: &[u8]) -> bool {
    let has_type = start.get(4..6).is_some_and(|kind| kind.iter().all(u8::is_ascii_uppercase));
    has_type && (start.starts_with(&[8, 0]) && start[3] == 0 || start.starts_with(&[0, 8, 0]))
}

/// A file that is none of ours.
fn unknown(len: u64, start: &[u8]) -> Problem {
    let remedy = "give a .npy, NIfTI, NRRD, MetaImage or DICOM file, a zip of one scan, or a folder of DICOM files or \
                  of PNG or JPEG slices";
    if len == 0 {
        return Problem::cut_short("is empty (0 bytes)");
    }
    if start.starts_with(b"PK\x05\x06") {
        return Problem::new("is an empty zip archive", "zip the folder of a scan");
    }
    if start.starts_with(GZIP_MAGIC) {
        return Problem::new("is a gzip file that holds no NIfTI volume, or is damaged", remedy);
    }
    if is_bare_dataset(start) {
        let finding = "is a DICOM data set without its file header, so how it is written is not known";
        return Problem::new(finding, "export it again as a DICOM file");
    }
    let shown = start[..start.len().min(8)].escape_ascii();
    Problem::new(format!("is of no known volume format ({len} bytes that start with \"{shown}\")"), remedy)
}
