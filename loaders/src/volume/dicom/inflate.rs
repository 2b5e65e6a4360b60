//! Deflated data sets, unpacked no further than their pixels need.

use std::io::Read;

use flate2::read::DeflateDecoder;

use super::super::Problem;
use super::super::scalar::voxel_count;
use super::dataset::{self as tag, Dataset, Encoding, Parsed};
use super::frames;
use crate::memory;

/// Deflate cannot shrink data more than this many times.
const RATIO_MAX: u64 = 1032;

/// What may be unpacked before the header has to end: room for the functional groups of thousands of frames.
const HEADER_BYTES_MAX: u64 = 1 << 20;
const HEADER_BYTES_PER_PACKED_BYTE: u64 = 2;

/// What may follow the pixels.
const TRAILING_BYTES_MAX: u64 = 1 << 16;

/// Unpacks a data set. Its header is unpacked first, and then as much as the pixels it describes take.
pub(crate) fn inflate(packed: &[u8], encoding: Encoding) -> Result<Vec<u8>, Problem> {
    let header_max = HEADER_BYTES_MAX + packed.len() as u64 * HEADER_BYTES_PER_PACKED_BYTE;
    let mut stream = DeflateDecoder::new(packed);
    let mut bytes = Vec::new();
    stream.by_ref().take(header_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= header_max {
        return Ok(bytes);
    }
    let end = end_of_pixels(&bytes, encoding)?;
    let bytes_max = end.saturating_add(TRAILING_BYTES_MAX).min(packed.len() as u64 * RATIO_MAX);
    let more = bytes_max.saturating_sub(bytes.len() as u64);
    memory::reserve(&mut bytes, more as usize + 1)?;
    stream.take(more + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let finding = format!("unpacks to more than the {bytes_max} bytes that its header and pixels need");
        return Err(Problem::new(finding, "convert it to explicit VR little endian, uncompressed"));
    }
    Ok(bytes)
}

/// Where the pixels of a data set of which `start` is known end, by its own account.
fn end_of_pixels(start: &[u8], encoding: Encoding) -> Result<u64, Problem> {
    let Parsed { dataset, last, at, end } = Dataset::parse_start(start, encoding);
    if last != Some(tag::PIXELS) {
        let finding = format!("unpacks to more than {} bytes before its pixels", start.len());
        return Err(Problem::new(finding, "convert it to explicit VR little endian, uncompressed"));
    }
    let number = |tag| u64::from(dataset.number(tag).unwrap_or(0));
    let pixels = voxel_count(&[frames::count(&dataset)?, number(tag::ROWS), number(tag::COLUMNS)])? as u64;
    let pixel_bytes = pixels * number(tag::BITS_ALLOCATED).div_ceil(8);
    // Pixels that are all there end where reading stopped, others begin there.
    Ok(if end.is_ok() { at as u64 } else { at as u64 + pixel_bytes })
}
