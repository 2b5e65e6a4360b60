//! Folders of PNG and JPEG slices.
use super::{Seed, case_folder, volumes, write};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use med2e3_loaders::volume::{RawVolume, VolumeOptions, read_volume};
use std::io::Write;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Width, height, bits, colour type, compression, filter, interlace.
const HEADER_BYTES: usize = 13;
/// Four columns and three rows of grey.
const GREY: [u8; HEADER_BYTES] = [0, 0, 0, 4, 0, 0, 0, 3, 8, 0, 0, 0, 0];
const JPEG: &[u8] = include_bytes!("streams/ramp_8bit.jpeg");

fn chunk(kind: &[u8], data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u32).to_be_bytes();
    [length.as_slice(), kind, data, &checksum(&[kind, data].concat())].concat()
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

/// A PNG of the header's fields and the lines of pixels behind them, each with its filter's number first.
fn png(parts: Vec<u8>) -> Vec<u8> {
    let (header, lines) = parts.split_at(parts.len().min(HEADER_BYTES));
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(lines).expect("a vector takes all");
    let packed = packed.finish().expect("a vector takes all");
    [SIGNATURE, &chunk(b"IHDR", header), &chunk(b"IDAT", &packed), &chunk(b"IEND", b"")].concat()
}

/// The header's fields with these bits and colour type, then lines that grow brighter.
fn parts(bits: u8, colour: u8, bytes_per_line: usize) -> Vec<u8> {
    let mut header = GREY;
    (header[8], header[9]) = (bits, colour);
    let line = |row: usize| (0..=bytes_per_line).map(move |at| if at == 0 { 0 } else { (20 * at + 30 * row) as u8 });
    header.into_iter().chain((0..3).flat_map(line)).collect()
}

/// Gives every whole chunk the checksum of its content.
fn with_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = SIGNATURE.len();
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + 8 + length;
        let Some(content) = bytes.get(at + 4..end) else { break };
        let sum = checksum(content);
        let Some(place) = bytes.get_mut(end..end + 4) else { break };
        place.copy_from_slice(&sum);
        at = end + 4;
    }
    bytes
}

/// Slices that make a volume alone.
pub(super) fn lone_slices() -> [Seed; 2] {
    [Seed::whole(png(parts(8, 0, 4))), Seed::whole(JPEG.to_vec())]
}

pub(super) fn seeds() -> Vec<Seed> {
    let grey = parts(8, 0, 4);
    let others = [parts(16, 0, 8), parts(8, 2, 12), parts(8, 4, 8), parts(16, 6, 32)];
    let built = others.into_iter().chain([grey.clone()]).map(|parts| Seed::part(parts, png));
    lone_slices().into_iter().chain([Seed::part(png(grey), with_checksums)]).chain(built).collect()
}

/// The bytes are the second of three slices.
pub(super) fn read(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    for (name, content) in [("0.png", png(parts(8, 0, 4))), ("1.png", bytes.to_vec()), ("2.png", png(parts(8, 0, 4)))] {
        write(folder.path().join(name), content);
    }
    let found = read_volume(folder.path(), &VolumeOptions::default());
    let odd = |raw: &RawVolume| raw.voxels.iter().any(|voxel| !(0.0..=1.0).contains(voxel));
    assert!(!found.as_ref().is_ok_and(odd), "a grey value is outside 0..1");
    volumes::settle(found)
}
