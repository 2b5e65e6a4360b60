//! Small valid DICOM slices, in every kind of packing.
use super::{Seed, volumes};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use med2e3_loaders::volume::{VolumeOptions, parse_dicom_files};
use std::io::Write;

const ROWS: u16 = 3;
const COLUMNS: u16 = 4;
pub(super) const EXPLICIT_LITTLE: &str = "1.2.840.10008.1.2.1";
const RLE: &str = "1.2.840.10008.1.2.5";

/// One element in explicit VR, little-endian, padded to an even length.
pub(super) fn element(tag: u32, vr: &str, value: &[u8]) -> Vec<u8> {
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

pub(super) fn tag_bytes(tag: u32) -> [u8; 4] {
    tag.rotate_left(16).to_le_bytes()
}

fn text(tag: u32, vr: &str, value: &str) -> Vec<u8> {
    element(tag, vr, value.as_bytes())
}

fn short(tag: u32, value: u16) -> Vec<u8> {
    element(tag, "US", &value.to_le_bytes())
}

/// What says how the data set behind it is written.
fn meta(number: u16, syntax: &str) -> Vec<u8> {
    meta_of("1.2.840.10008.5.1.4.1.1.2", number, syntax)
}

/// The same for an object of any class.
pub(super) fn meta_of(class: &str, number: u16, syntax: &str) -> Vec<u8> {
    let meta = [
        text(0x0002_0002, "UI", class),
        text(0x0002_0003, "UI", &format!("1.2.3.{number}")),
        text(0x0002_0010, "UI", syntax),
    ]
    .concat();
    let group_length = element(0x0002_0000, "UL", &(meta.len() as u32).to_le_bytes());
    [&[0; 128], b"DICM".as_slice(), &group_length, &meta].concat()
}

/// The data set of slice `number` without its pixels, which have this many bits, and a sign if `signed` is 1.
fn dataset(number: u16, bits: u16, signed: u16) -> Vec<u8> {
    [
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
        short(0x0028_0100, if bits > 8 { 16 } else { 8 }),
        short(0x0028_0101, bits),
        short(0x0028_0102, bits - 1),
        short(0x0028_0103, signed),
        text(0x0028_1052, "DS", "-1024"),
        text(0x0028_1053, "DS", "1"),
    ]
    .concat()
}

/// Everything but the pixels of slice `number` of a series.
fn header(number: u16, syntax: &str) -> Vec<u8> {
    [meta(number, syntax), dataset(number, 16, 1)].concat()
}

fn pixels(number: u16) -> Vec<u8> {
    (0..ROWS * COLUMNS).flat_map(|pixel| (pixel * number).to_le_bytes()).collect()
}

/// Slice `number` of a series, uncompressed.
pub fn slice(number: u16) -> Vec<u8> {
    [header(number, EXPLICIT_LITTLE), element(0x7fe0_0010, "OW", &pixels(number))].concat()
}

/// The same slice, run-length encoded: the high bytes, then the low bytes, each as one literal run.
fn rle_slice(number: u16) -> Vec<u8> {
    let plane = |byte: usize| -> Vec<u8> { pixels(number).into_iter().skip(byte).step_by(2).collect() };
    let segment = |byte: usize| [vec![(ROWS * COLUMNS - 1) as u8], plane(byte), vec![0x80; 1]].concat();
    let high = segment(1);
    let low = segment(0);
    let mut offsets = vec![0u8; 64];
    let starts = [2u32, 64, 64 + high.len() as u32];
    for (place, value) in offsets.chunks_mut(4).zip(starts) {
        place.copy_from_slice(&value.to_le_bytes());
    }
    [header(number, RLE), fragments(&[offsets, high, low].concat())].concat()
}

/// Pixels in one fragment, behind an empty offset table.
fn fragments(stream: &[u8]) -> Vec<u8> {
    let item =
        |content: &[u8]| [tag_bytes(0xfffe_e000).as_slice(), &(content.len() as u32).to_le_bytes(), content].concat();
    let start = [tag_bytes(0x7fe0_0010).as_slice(), b"OB\0\0", &u32::MAX.to_le_bytes()].concat();
    let end = [tag_bytes(0xfffe_e0dd), [0; 4]].concat();
    let padding = &[0][..stream.len() % 2];
    [start, item(&[]), item(&[stream, padding].concat()), end].concat()
}

pub(super) fn seeds() -> Vec<Seed> {
    [slice(2), rle_slice(2)].into_iter().map(Seed::whole).collect()
}

/// A compressed picture of a slice's size: the last part of its transfer syntax, bits, and the stream.
struct Picture {
    syntax: &'static str,
    bits: u16,
    stream: &'static [u8],
}

/// A ramp of 12 pixels, written by imagecodecs 2026.3.6.
const PICTURES: [Picture; 5] = [
    Picture { syntax: "4.50", bits: 8, stream: include_bytes!("streams/ramp_8bit.jpeg") },
    Picture { syntax: "4.51", bits: 12, stream: include_bytes!("streams/ramp_12bit.jpeg") },
    Picture { syntax: "4.70", bits: 16, stream: include_bytes!("streams/ramp_lossless.jpeg") },
    Picture { syntax: "4.80", bits: 16, stream: include_bytes!("streams/ramp.jls") },
    Picture { syntax: "4.90", bits: 16, stream: include_bytes!("streams/ramp.j2k") },
];

/// Every codec, the stream alone and the whole file mutated, and a deflated data set of several frames.
pub(super) fn codec_seeds() -> Vec<Seed> {
    let pictures = PICTURES.iter().flat_map(|Picture { syntax, bits, stream }| {
        let start = [meta(1, &format!("1.2.840.10008.1.2.{syntax}")), dataset(1, *bits, 0)].concat();
        let seed = Seed::part(stream.to_vec(), move |stream| [start.clone(), fragments(&stream)].concat());
        [Seed::whole(seed.file()), seed]
    });
    pictures.chain([deflated_frames()]).collect()
}

/// Frames of the deflated data set.
const FRAMES: u16 = 40;

fn deflated_frames() -> Seed {
    let frames = text(0x0028_0008, "IS", &FRAMES.to_string());
    let pixels: Vec<u8> = (0..FRAMES * ROWS * COLUMNS).flat_map(|pixel| (pixel % 50).to_le_bytes()).collect();
    let whole = dataset(1, 16, 1);
    let rows = whole.windows(4).position(|tag| tag == tag_bytes(0x0028_0010)).expect("it has rows");
    let parts = [&whole[..rows], &frames, &whole[rows..], &element(0x7fe0_0010, "OW", &pixels)];
    Seed::part(parts.concat(), |dataset| {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&dataset).expect("a vector takes all");
        [meta(1, "1.2.840.10008.1.2.1.99"), packed.finish().expect("a vector takes all")].concat()
    })
}

/// The bytes are one of three slices; the others are sound, so that they are compared with it.
pub(super) fn read(bytes: &[u8]) -> Result<(), String> {
    let files = [("1".into(), slice(1)), ("2".into(), bytes.to_vec()), ("3".into(), slice(3))];
    volumes::outcome(parse_dicom_files(&files, &VolumeOptions::default()), "series")
}

/// Reads bytes as a file of its own, for seeds that are no slice of the built-in series.
pub fn read_file(bytes: &[u8]) -> Result<(), String> {
    let found = parse_dicom_files(&[("scan.dcm".into(), bytes.to_vec())], &VolumeOptions::default());
    volumes::outcome(found, "scan.dcm")
}
