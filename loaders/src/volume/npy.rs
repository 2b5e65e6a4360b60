//! The .npy format: M3D's prepared volumes, and any array of slices.
//!
//! Read here rather than with `npyz`: that crate allocates the header's length before it has seen the bytes (up to
//! 4 GiB) and parses the header with a recursive grammar, so that a file of brackets overflows the stack.

use std::io::{BufReader, Read};

use super::files::Stream;
use super::orientation::reorder;
use super::scalar::{Scalar, Scale, read_voxels, voxel_count};
use super::{Parts, Problem, VolumeKind, VolumeOptions};

/// First bytes of every .npy file.
pub(crate) const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header we read; numpy's own limit for untrusted files is 10 000.
const HEADER_BYTES_MAX: usize = 1 << 16;

/// Most values of one voxel: colours with their opacity.
const CHANNELS_MAX: u64 = 4;

/// Most axes that a message shows.
const AXES_SHOWN_MAX: usize = 8;

/// What the header says.
struct Header {
    scalar: Scalar,
    big_endian: bool,
    fortran_order: bool,
    shape: Vec<u64>,
    bytes: usize,
}

/// Reads a .npy file.
pub(crate) fn read_stream(stream: Stream<'_>, options: &VolumeOptions) -> Result<Parts, Problem> {
    read(&mut BufReader::new(stream.bytes), stream.len, options)
}

/// Reads the .npy bytes of `source`, which holds `len` of them.
pub(crate) fn read(source: &mut impl Read, len: u64, options: &VolumeOptions) -> Result<Parts, Problem> {
    let header = read_header(source)?;
    let (volumes, dims) = match header.shape[..] {
        [n, h, w] if n == h && h != w => {
            let finding = format!(
                "has shape {:?}, which looks like rows, columns, slices, but slices come first here",
                header.shape
            );
            let remedy = "save array.transpose(2, 0, 1), or array[None] if its first axis does count the slices";
            return Err(Problem::new(finding, remedy));
        }
        [n, h, w] => (1, [n, h, w]),
        [n, h, w, c] if c <= CHANNELS_MAX && n.min(h).min(w) > CHANNELS_MAX => {
            let finding = format!("has shape {:?}, of which the last axis looks like {c} channel(s)", header.shape);
            return Err(Problem::new(finding, "save one of them, array[..., 0]"));
        }
        [c, n, h, w] => (c, [n, h, w]),
        ref shape => {
            let rest = if shape.len() > AXES_SHOWN_MAX { " and more" } else { "" };
            let shown = &shape[..shape.len().min(AXES_SHOWN_MAX)];
            let finding = format!("has shape {shown:?}{rest}, wanted (slices, rows, columns) or (1, ...)");
            return Err(Problem::new(finding, "save the array with three axes"));
        }
    };
    let count = voxel_count(&dims)?;
    let volume_bytes = (count * header.scalar.size()) as u64;
    let want = volumes.checked_mul(volume_bytes).and_then(|bytes| bytes.checked_add(header.bytes as u64));
    if want.is_none_or(|want| want > len) {
        let want = want.map_or("an impossible number of".to_owned(), |want| want.to_string());
        let finding = format!("holds {len} bytes, but its shape {:?} needs {want} bytes", header.shape);
        return Err(Problem::cut_short(finding));
    }
    let channels = if volumes <= CHANNELS_MAX { ", of which the first axis may count channels" } else { "" };
    let index = super::pick(volumes, options, || format!("shape {:?}{channels}", header.shape))?;
    if header.fortran_order && volumes > 1 {
        return Err(Problem::not_ours("holds several volumes in Fortran order"));
    }
    skip(source, index * volume_bytes)?;
    let voxels = read_voxels(source, count, header.scalar, header.big_endian, Scale::NONE)?;
    let dims = dims.map(|dim| dim as usize);
    let flipped = [options.reverses(), false, false];
    let (voxels, dims) = if header.fortran_order {
        reorder(voxels, dims, [0, 1, 2], flipped)?
    } else {
        let [slices, rows, columns] = dims;
        reorder(voxels, [columns, rows, slices], [2, 1, 0], flipped)?
    };
    let mut parts = Parts::new("npy", voxels, dims);
    parts.info.source_dims = header.shape.iter().map(|&dim| dim as usize).collect();
    parts.info.dtype = header.scalar.name().to_owned();
    let prepared = parts.voxels.iter().all(|voxel| !voxel.is_finite() || (0.0..=1.0).contains(voxel));
    if prepared {
        parts.kind = VolumeKind::Prepared;
    } else {
        let note = "the .npy holds values outside 0..1, so it was scaled to 0..1 like a scan";
        parts.info.notes.push(note.to_owned());
    }
    if want.is_some_and(|want| want < len) {
        parts.info.notes.push("bytes after the array were ignored".to_owned());
    }
    Ok(parts)
}

/// Skips `count` bytes.
fn skip(source: &mut impl Read, count: u64) -> Result<(), Problem> {
    std::io::copy(&mut source.by_ref().take(count), &mut std::io::sink())?;
    Ok(())
}

/// Magic, version, length and the Python dict.
fn read_header(source: &mut impl Read) -> Result<Header, Problem> {
    let mut fixed = [0; 8];
    source.read_exact(&mut fixed).map_err(|_| Problem::cut_short("is shorter than a .npy header"))?;
    if !fixed.starts_with(MAGIC) {
        return Err(Problem::new("is not a .npy file (no NUMPY magic)", "save it with numpy.save"));
    }
    let length_bytes = match fixed[6] {
        1 => 2,
        2 | 3 => 4,
        version => {
            let finding = format!("is .npy version {version}, wanted 1, 2 or 3");
            return Err(Problem::new(finding, "save it with numpy.save"));
        }
    };
    let mut length = [0; 4];
    source.read_exact(&mut length[..length_bytes]).map_err(|_| Problem::cut_short("is shorter than a .npy header"))?;
    let length = u32::from_le_bytes(length) as usize;
    if length > HEADER_BYTES_MAX {
        let finding = format!("has a header of {length} bytes, more than {HEADER_BYTES_MAX}");
        return Err(Problem::new(finding, "save it with numpy.save"));
    }
    let mut text = vec![0; length];
    source.read_exact(&mut text).map_err(|_| Problem::cut_short("ends within its .npy header"))?;
    parse_dict(&String::from_utf8_lossy(&text), 8 + length_bytes + length)
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (1, 32, 256, 256), }`, keys in any order.
fn parse_dict(text: &str, bytes: usize) -> Result<Header, Problem> {
    let bad = |what: &str| {
        let shown: String = text.chars().take(80).collect();
        Problem::new(format!("has a .npy header without {what} ({:?})", shown.trim()), "save it with numpy.save")
    };
    let value = |key: &str| {
        let after = text.split_once(&format!("'{key}'"))?.1;
        Some(after.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").and_then(|rest| rest.strip_prefix('\'')?.split_once('\''));
    let (descr, _) = descr.ok_or_else(|| bad("a plain dtype in 'descr'"))?;
    let (order, kind) = descr.split_at_checked(1).ok_or_else(|| bad("a dtype"))?;
    let scalar = scalar_named(kind).filter(|_| "<>|=".contains(order)).ok_or_else(|| {
        let finding = format!("has dtype {descr:?}, wanted an integer or float type");
        Problem::new(finding, "save it as float32 or int16")
    })?;
    let fortran_order = match value("fortran_order") {
        Some(rest) if rest.starts_with("True") => true,
        Some(rest) if rest.starts_with("False") => false,
        _ => return Err(bad("'fortran_order' True or False")),
    };
    let shape = value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')'));
    let (shape, _) = shape.ok_or_else(|| bad("a tuple in 'shape'"))?;
    let numbers = shape.split(',').map(str::trim).filter(|dim| !dim.is_empty());
    let shape: Result<Vec<u64>, _> = numbers.map(str::parse).collect();
    let shape = shape.map_err(|_| bad("whole numbers in 'shape'"))?;
    Ok(Header { scalar, big_endian: order == ">", fortran_order, shape, bytes })
}

/// The element type of numpy's kind and size, booleans as 0 and 1.
fn scalar_named(kind: &str) -> Option<Scalar> {
    Some(match kind {
        "u1" | "b1" => Scalar::U8,
        "i1" => Scalar::I8,
        "u2" => Scalar::U16,
        "i2" => Scalar::I16,
        "u4" => Scalar::U32,
        "i4" => Scalar::I32,
        "u8" => Scalar::U64,
        "i8" => Scalar::I64,
        "f2" => Scalar::F16,
        "f4" => Scalar::F32,
        "f8" => Scalar::F64,
        _ => return None,
    })
}
