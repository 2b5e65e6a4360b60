//! Small valid DICOM slices.
use super::Seed;

const ROWS: u16 = 3;
const COLUMNS: u16 = 4;
const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";

/// One element in explicit VR, little-endian, padded to an even length.
fn element(tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if vr == "UI" { 0 } else { b' ' });
    }
    let length = value.len() as u32;
    let length = match vr {
        "OB" | "OW" | "SQ" | "UN" => [&[0, 0], length.to_le_bytes().as_slice()].concat(),
        _ => (length as u16).to_le_bytes().to_vec(),
    };
    [tag_bytes(tag).as_slice(), vr.as_bytes(), &length, &value].concat()
}

fn tag_bytes(tag: u32) -> [u8; 4] {
    tag.rotate_left(16).to_le_bytes()
}

/// Everything but the pixels of slice `number` of a series.
fn header(number: u16, syntax: &str) -> Vec<u8> {
    let text = |tag: u32, vr: &str, value: &str| element(tag, vr, value.as_bytes());
    let short = |tag: u32, value: u16| element(tag, "US", &value.to_le_bytes());
    let meta = [
        text(0x0002_0002, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        text(0x0002_0003, "UI", &format!("1.2.3.{number}")),
        text(0x0002_0010, "UI", syntax),
    ]
    .concat();
    let dataset = [
        text(0x0008_0016, "UI", "1.2.840.10008.5.1.4.1.1.2"),
        text(0x0008_0018, "UI", &format!("1.2.3.{number}")),
        text(0x0008_0060, "CS", "CT"),
        text(0x0018_0050, "DS", "5"),
        text(0x0020_000d, "UI", "1.2.4"),
        text(0x0020_000e, "UI", "1.2.5"),
        text(0x0020_0011, "IS", "1"),
        text(0x0020_0013, "IS", &number.to_string()),
        text(0x0020_0032, "DS", &format!("0\\0\\{}", 5 * number)),
        text(0x0020_0037, "DS", "1\\0\\0\\0\\1\\0"),
        short(0x0028_0002, 1),
        text(0x0028_0004, "CS", "MONOCHROME2"),
        short(0x0028_0010, ROWS),
        short(0x0028_0011, COLUMNS),
        text(0x0028_0030, "DS", "1\\1"),
        short(0x0028_0100, 16),
        short(0x0028_0101, 16),
        short(0x0028_0102, 15),
        short(0x0028_0103, 1),
        text(0x0028_1052, "DS", "-1024"),
        text(0x0028_1053, "DS", "1"),
    ]
    .concat();
    let group_length = element(0x0002_0000, "UL", &(meta.len() as u32).to_le_bytes());
    [&[0; 128], b"DICM".as_slice(), &group_length, &meta, &dataset].concat()
}

fn pixels(number: u16) -> Vec<u8> {
    (0..ROWS * COLUMNS).flat_map(|pixel| (pixel * number).to_le_bytes()).collect()
}

/// Slice `number` of a series, uncompressed.
pub(super) fn slice(number: u16) -> Vec<u8> {
    [header(number, EXPLICIT_LITTLE), element(0x7fe0_0010, "OW", &pixels(number))].concat()
}

/// The same slice, run-length encoded: the high bytes, then the low bytes, each as one literal run.
fn rle_slice(number: u16) -> Vec<u8> {
    let plane = |byte: usize| -> Vec<u8> { pixels(number).into_iter().skip(byte).step_by(2).collect() };
    let segment = |byte: usize| [vec![(ROWS * COLUMNS - 1) as u8], plane(byte), vec![0x80; 1]].concat();
    let (high, low) = (segment(1), segment(0));
    let mut offsets = vec![0u8; 64];
    let starts = [2u32, 64, 64 + high.len() as u32];
    for (place, value) in offsets.chunks_mut(4).zip(starts) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    let frame = [offsets, high, low].concat();
    let item =
        |content: &[u8]| [tag_bytes(0xfffe_e000).as_slice(), &(content.len() as u32).to_le_bytes(), content].concat();
    let start = [tag_bytes(0x7fe0_0010).as_slice(), b"OB\0\0", &u32::MAX.to_le_bytes()].concat();
    let end = [tag_bytes(0xfffe_e0dd), [0; 4]].concat();
    [header(number, RLE), start, item(&[]), item(&frame), end].concat()
}

pub(super) fn seeds() -> Vec<Seed> {
    [slice(2), rle_slice(2)].into_iter().map(|bytes| Seed { bytes, wrap: |bytes| bytes }).collect()
}
