//! NIfTI volumes: .nii, .nii.gz and .hdr/.img pairs, by content; only .gz in a name must be true.

use std::io::Read;
use std::path::Path;

use super::files::{Files, Stream};
use super::grid::{Grid, Start};
use super::names::name_of;
use super::nifti_header::{HEADER_BYTES, Header, parse, sniff};
use super::packed::Source;
use super::{Parts, Problem, VolumeOptions};

/// Endings of the voxel file of a pair, and of its header.
const VOXEL_ENDINGS: [&str; 3] = [".img", ".IMG", ".img.gz"];
const HEADER_ENDINGS: [&str; 3] = [".hdr", ".HDR", ".hdr.gz"];

/// Refuses a file whose name and content disagree about gzip: one of the two is not what its writer meant.
fn check_name(name: &str, gzip: bool) -> Result<(), Problem> {
    let extension = Path::new(name).extension().map(std::ffi::OsStr::to_ascii_lowercase);
    match extension.as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("nii" | "hdr" | "img") if gzip => {
            Err(Problem::new("is a gzip stream, but its name does not end in .gz", "rename it to end in .nii.gz"))
        }
        Some("gz") if !gzip => {
            Err(Problem::new("is no gzip stream, but its name ends in .gz", "rename it without .gz"))
        }
        _ => Ok(()),
    }
}

/// Reads a NIfTI file: a single one, or the header of a pair.
pub(crate) fn read<F: Files + ?Sized>(files: &F, file: usize, options: &VolumeOptions) -> Result<Parts, Problem> {
    let stream = files.stream(file)?;
    let name = stream.name.clone();
    let mut source = Source::by_content(stream)?;
    check_name(&name, source.packed)?;
    let start = read_start(&mut source.stream)?;
    let header = parse(&start)?;
    if header.single_file {
        return read_data(header, source, start.len() as u64, options);
    }
    let voxels = sibling(files, file, HEADER_ENDINGS, VOXEL_ENDINGS)?.ok_or_else(|| {
        let finding = "is the header of a NIfTI pair, and there is no .img file of the same name beside it";
        Problem::new(finding, "put the .img file beside it")
    })?;
    let name = voxels.name.clone();
    let read = Source::by_content(voxels).and_then(|source| read_data(header, source, 0, options));
    read.map_err(|problem| problem.blame(name))
}

/// Reads the voxel file of a pair by the header beside it.
pub(crate) fn read_voxels_of_pair<F: Files + ?Sized>(
    files: &F,
    file: usize,
    options: &VolumeOptions,
) -> Result<Parts, Problem> {
    let header = sibling(files, file, VOXEL_ENDINGS, HEADER_ENDINGS)?;
    let header = header.ok_or_else(|| Problem::new("has lost the header beside it", "try again"))?;
    let name = header.name.clone();
    let read = || {
        let mut source = Source::by_content(header)?;
        check_name(&name, source.packed)?;
        parse(&read_start(&mut source.stream)?)
    };
    let header = read().map_err(|problem| problem.blame(&name))?;
    read_data(header, Source::by_content(files.stream(file)?)?, 0, options)
}

/// Whether `file` is named like the voxel file of a pair and its header lies beside it.
pub(crate) fn has_header_beside<F: Files + ?Sized>(files: &F, file: usize) -> bool {
    sibling(files, file, VOXEL_ENDINGS, HEADER_ENDINGS).is_ok_and(|header| header.is_some())
}

/// The other file of a pair: `file` with one of the endings `to` instead of one of `from`.
fn sibling<'a, F: Files + ?Sized>(
    files: &'a F,
    file: usize,
    from: [&str; 3],
    to: [&str; 3],
) -> Result<Option<Stream<'a>>, Problem> {
    let name = name_of(files.name(file));
    let Some(stem) = from.iter().find_map(|ending| name.strip_suffix(ending)) else { return Ok(None) };
    for ending in to {
        if let Some(found) = files.beside(file, &format!("{stem}{ending}"))? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The header's bytes, as far as the stream has them.
fn read_start(stream: &mut impl Read) -> Result<Vec<u8>, Problem> {
    let mut start = Vec::with_capacity(HEADER_BYTES[1]);
    stream.by_ref().take(4).read_to_end(&mut start)?;
    let version = sniff(&start).map_or(1, |(version, _)| version);
    let rest = HEADER_BYTES[usize::from(version) - 1] as u64 - start.len() as u64;
    stream.by_ref().take(rest).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads the chosen volume from a stream of which `consumed` bytes are gone.
fn read_data(header: Header, source: Source<'_>, consumed: u64, options: &VolumeOptions) -> Result<Parts, Problem> {
    let packed = if source.packed { " (gzip)" } else { "" };
    let order = if header.big_endian { ", big-endian" } else { "" };
    let grid = Grid {
        format: format!("NIfTI-{}{packed}{order}", header.version),
        dims: header.dims,
        scalar: header.scalar,
        big_endian: header.big_endian,
        scale: header.scale,
        affine: header.affine,
        notes: header.notes,
    };
    grid.read(source, Start::At { byte: header.data_offset, consumed }, options)
}
