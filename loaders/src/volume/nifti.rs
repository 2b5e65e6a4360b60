//! NIfTI volumes: .nii, .nii.gz and .hdr/.img pairs, by content; only .gz in a name must be true.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::nifti_header::{HEADER_BYTES, Header, parse, sniff};
use super::orientation::{Orientation, reorder};
use super::scalar::{read_voxels, voxel_count};
use super::{Parts, Problem, Unit, VolumeOptions, fill};

/// Deflate cannot shrink data more than this many times; a header that promises more is lying.
const DEFLATE_RATIO_MAX: u64 = 1032;

/// First bytes of a gzip stream.
pub(crate) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];

/// Bytes that may follow the voxels in a gzip stream; they are read to check its checksum.
const TRAILING_BYTES_MAX: u64 = 64 << 20;

/// A stream and the most bytes that it can deliver.
struct Source<R> {
    stream: R,
    bytes_max: u64,
    gzip: bool,
}

/// Refuses a file whose name and content disagree about gzip: one of the two is not what its writer meant.
fn check_name(path: &Path, gzip: bool) -> Result<(), Problem> {
    let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
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

/// Opens `path`, through gzip where its content says so.
fn open(path: &Path) -> Result<Source<Box<dyn Read>>, Problem> {
    let mut file = BufReader::new(File::open(path)?);
    let len = file.get_ref().metadata()?.len();
    let start = std::io::BufRead::fill_buf(&mut file)?;
    if start.starts_with(GZIP_MAGIC) {
        let bytes_max = len.saturating_mul(DEFLATE_RATIO_MAX);
        return Ok(Source { stream: Box::new(BufReader::new(MultiGzDecoder::new(file))), bytes_max, gzip: true });
    }
    Ok(Source { stream: Box::new(file), bytes_max: len, gzip: false })
}

/// Reads the NIfTI file at `path`: a single file, or the header of a pair.
pub(crate) fn read_file(path: &Path, options: &VolumeOptions) -> Result<Parts, Problem> {
    let mut source = open(path)?;
    check_name(path, source.gzip)?;
    let header_start = read_start(&mut source.stream)?;
    let header = parse(&header_start)?;
    if header.single_file {
        return read_data(header, source, header_start.len() as u64, options);
    }
    let data = image_of(path).ok_or_else(|| {
        let finding = "is the header of a NIfTI pair, and there is no .img file of the same name beside it";
        Problem::new(finding, "put the .img file beside it")
    })?;
    read_data(header, open(&data)?, 0, options).map_err(|problem| problem.blame(data))
}

/// Reads NIfTI bytes, gzip or not.
pub(crate) fn read_bytes(bytes: &[u8], options: &VolumeOptions) -> Result<Parts, Problem> {
    let (len, gzip) = (bytes.len() as u64, bytes.starts_with(GZIP_MAGIC));
    let mut source: Source<Box<dyn Read + '_>> = if gzip {
        let stream = Box::new(MultiGzDecoder::new(bytes));
        Source { stream, bytes_max: len.saturating_mul(DEFLATE_RATIO_MAX), gzip }
    } else {
        Source { stream: Box::new(Cursor::new(bytes)), bytes_max: len, gzip }
    };
    let start = read_start(&mut source.stream)?;
    let header = parse(&start)?;
    if !header.single_file {
        return Err(Problem::new("is the header of a NIfTI pair", "give the .hdr file with its .img beside it"));
    }
    read_data(header, source, start.len() as u64, options)
}

/// Whether the decompressed start of a gzip file is a NIfTI header.
pub(crate) fn is_gzipped_nifti(path: &Path) -> bool {
    let mut start = [0; 4];
    open(path).is_ok_and(|mut source| source.stream.read_exact(&mut start).is_ok() && sniff(&start).is_some())
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

/// The voxel file of the header at `path`, compressed or not.
fn image_of(path: &Path) -> Option<PathBuf> {
    let name = path.to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".hdr").or_else(|| stem.strip_suffix(".HDR"))?;
    let candidates = [".img", ".IMG", ".img.gz"].map(|extension| PathBuf::from(format!("{stem}{extension}")));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// The header beside the voxel file of a pair.
pub(crate) fn header_of(path: &Path) -> Option<PathBuf> {
    let name = path.to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".img").or_else(|| stem.strip_suffix(".IMG"))?;
    let candidates = [".hdr", ".HDR", ".hdr.gz"].map(|extension| PathBuf::from(format!("{stem}{extension}")));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// Reads the chosen volume from a stream of which `consumed` bytes are gone.
fn read_data(
    header: Header,
    mut source: Source<impl Read>,
    consumed: u64,
    options: &VolumeOptions,
) -> Result<Parts, Problem> {
    let dims = [header.dims[0], header.dims[1], header.dims[2]];
    let count = voxel_count(&dims)?;
    let volumes = header.dims[3..].iter().try_fold(1u64, |product, &dim| product.checked_mul(dim));
    let volume_bytes = (count * header.scalar.size()) as u64;
    let end = volumes.and_then(|volumes| volumes.checked_mul(volume_bytes));
    let end = end.and_then(|bytes| bytes.checked_add(header.data_offset));
    let (Some(volumes), true) = (volumes, end.is_some_and(|end| end <= source.bytes_max)) else {
        let held = if source.gzip { "can hold at most" } else { "holds" };
        let want = end.map_or("an impossible number of".to_owned(), |end| end.to_string());
        let max = source.bytes_max;
        let finding = format!("{held} {max} bytes, but its header (shape {:?}) needs {want} bytes", header.dims);
        return Err(Problem::cut_short(finding));
    };
    let index = super::pick(volumes, options, || format!("shape {:?}", header.dims))?;
    let skip = header.data_offset - consumed + index * volume_bytes;
    std::io::copy(&mut source.stream.by_ref().take(skip), &mut std::io::sink())?;
    let voxels = read_voxels(&mut source.stream, count, header.scalar, header.big_endian, header.scale)?;
    if source.gzip {
        let rest = (volumes - index - 1) * volume_bytes;
        check_to_end(&mut source.stream, rest)?;
    }
    let orientation = Orientation::closest(&header.columns, options.slice_order)?;
    let dims = dims.map(|dim| dim as usize);
    let (voxels, dims) = reorder(voxels, dims, orientation.from_axis, orientation.flipped)?;
    let packed = if source.gzip { " (gzip)" } else { "" };
    let order = if header.big_endian { ", big-endian" } else { "" };
    let mut parts = Parts::new(format!("NIfTI-{}{packed}{order}", header.version), voxels, dims);
    parts.info.source_dims = header.dims.iter().map(|&dim| dim as usize).collect();
    parts.info.dtype = header.scalar.name().to_owned();
    parts.info.spacing_mm = header.spacing_known.then(|| orientation.spacing(&header.columns));
    parts.info.rescale = Some([header.scale.slope, header.scale.intercept]);
    parts.info.notes = header.notes;
    parts.info.notes.extend(orientation.note());
    parts.info.notes.extend(fill::notes(&parts.voxels));
    parts.info.unit = Unit::Hounsfield;
    parts.info.orientation = Some(orientation);
    Ok(parts)
}

/// Reads a gzip stream to its end, where its checksum is: damage shows nowhere else.
fn check_to_end(stream: &mut impl Read, expected: u64) -> Result<(), Problem> {
    let allowed = expected + TRAILING_BYTES_MAX;
    let rest = std::io::copy(&mut stream.take(allowed + 1), &mut std::io::sink())?;
    if rest < expected {
        return Err(Problem::cut_short("holds fewer volumes than its header says"));
    }
    if rest > allowed {
        let finding = format!("holds more than {TRAILING_BYTES_MAX} bytes after its voxels");
        return Err(Problem::new(finding, "write the file again without them"));
    }
    Ok(())
}
