//! Small files that promise much: refused or read within the time and memory that a bad input may cost.

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;

use std::alloc::System;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cap::Cap;
use dicom_builder::{DEFLATED, EXPLICIT_LITTLE, Elements, JPEG_2000, JPEG_LS, RLE, encapsulated, file_of};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use med2e3_loaders::safetensors;
use med2e3_loaders::volume::{VolumeOptions, parse_dicom_files, read_volume};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, 2 << 30);
/// Allocations are counted for the whole process, so one test runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All that reading may allocate, freed or not: a flat part, and a multiple of the files.
const ALLOCATED_BYTES_MAX: usize = 64 << 20;
const ALLOCATED_PER_BYTE_MAX: usize = 64;
/// What a bad input may take, on a machine that does other things too.
const CASE_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest sentence about one of these.
const SENTENCE_CHARS_MAX: usize = 700;

/// Runs `read` over an input of `bytes` and compares its cost with what is allowed; the sentence, where it refuses.
fn bounded<T>(what: &str, bytes: usize, read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let before = ALLOCATOR.total_allocated();
    let start = Instant::now();
    let outcome = read();
    let took = start.elapsed();
    let allocated = ALLOCATOR.total_allocated() - before;
    assert!(took < CASE_TIME_MAX, "{what}: took {took:?}");
    let allowed = ALLOCATED_BYTES_MAX + ALLOCATED_PER_BYTE_MAX * bytes;
    assert!(allocated <= allowed, "{what}: allocated {allocated} bytes for {bytes}, {allowed} are allowed");
    if let Err(sentence) = &outcome {
        assert!(sentence.chars().count() <= SENTENCE_CHARS_MAX, "{what}: a sentence of {} bytes", sentence.len());
    }
    outcome
}

/// Reads DICOM files within the bounds; the shape that was read, or the sentence.
fn dicom(what: &str, files: Vec<Vec<u8>>) -> Result<[usize; 3], String> {
    let bytes = files.iter().map(Vec::len).sum();
    let files: Vec<(String, Vec<u8>)> =
        files.into_iter().enumerate().map(|(number, file)| (format!("{number}.dcm"), file)).collect();
    bounded(what, bytes, || {
        let read = parse_dicom_files(&files, &VolumeOptions::default());
        read.map(|volume| volume.dims).map_err(|problem| problem.at(Path::new("scan")).to_string())
    })
}

fn refused(what: &str, files: Vec<Vec<u8>>, finding: &str) {
    let sentence = dicom(what, files).expect_err(what);
    assert!(sentence.contains(finding), "{what}: {sentence}");
}

/// A data set whose frames are single pixels of 8 bits.
fn single_pixels(frames: u64) -> Elements {
    let dataset = Elements::slice(1, 0.0, 0).short(0x0028_0010, 1).short(0x0028_0011, 1);
    dataset.short(0x0028_0100, 8).short(0x0028_0101, 8).short(0x0028_0102, 7).text(0x0028_0008, "IS", frames)
}

/// The data set, `pixels` bytes of zeros as its pixels and `trailing` bytes behind them, deflated.
fn deflated(dataset: &Elements, pixels: u32, trailing: usize) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    let head = [&b"\xe0\x7f\x10\x00OW\0\0"[..], &pixels.to_le_bytes()].concat();
    packed.write_all(&dataset.clone().without(0x7FE0_0010).bytes()).expect("packed");
    packed.write_all(&head).expect("packed");
    let zeros = vec![0; 1 << 20];
    let mut left = pixels as usize + trailing;
    while left > 0 {
        let next = left.min(zeros.len());
        packed.write_all(&zeros[..next]).expect("packed");
        left -= next;
    }
    file_of(DEFLATED, &packed.finish().expect("packed"))
}

/// A frame costs memory, so files of many tiny frames are bounded, packed and plain, alone and together.
#[test]
fn frames_are_bounded() {
    let _alone = alone();
    for frames in [1 << 20, 1 << 23, 1 << 26] {
        refused("deflated", vec![deflated(&single_pixels(frames), frames as u32, 0)], "frames, more than 65535");
    }
    let plain = single_pixels(1_000_000).value(0x7FE0_0010, "OW", &vec![0; 1_000_000]);
    refused("plain", vec![plain.file(EXPLICIT_LITTLE)], "has 1000000 frames, more than 65535");
    let most = single_pixels(65_535);
    let mut pixels = vec![0; 65_536];
    pixels[7] = 1;
    let file = most.clone().value(0x7FE0_0010, "OW", &pixels).file(EXPLICIT_LITTLE);
    assert_eq!(dicom("the most frames", vec![file]), Ok([65_535, 1, 1]));
    let many = (0..40).map(|number| deflated(&most.clone().text(0x0020_0013, "IS", number), 65_536, 0)).collect();
    refused("many files", many, "holds more than 131072 slices");
}

/// A deflated file unpacks to its header and its pixels, and to no more.
#[test]
fn unpacking_stops_where_the_pixels_end() {
    let _alone = alone();
    let scan = Elements::slice(1, 0.0, 0).short(0x0028_0010, 2048).short(0x0028_0011, 1024);
    refused("a bomb", vec![deflated(&scan, 4 << 20, 200 << 20)], "more than the 42");
    refused("no pixels", vec![deflated(&Elements::default(), 100 << 20, 0)], "is empty");
    let endless = Elements::default().value(0x0009_1001, "UN", &vec![0; 100 << 20]);
    refused("a header", vec![deflated(&endless, 0, 0)], "before its pixels");
    refused("a scan", vec![deflated(&scan, 4 << 20, 2)], "is constant");
}

/// What frames share is parsed once, however long it is.
#[test]
fn shared_values_are_parsed_once() {
    let _alone = alone();
    let long = "1".repeat(60_000);
    let shared = Elements::default().items(
        0x0028_9145,
        &[Elements::default().value(0x0028_1052, "UN", format!("{long:>60000}").as_bytes()).text(0x0028_1053, "DS", 1)],
    );
    let dataset = single_pixels(60_000).items(0x5200_9229, &[shared]).value(0x7FE0_0010, "OW", &vec![0; 60_000]);
    refused("a long intercept", vec![dataset.file(EXPLICIT_LITTLE)], "decimal number");
    // Elements that lookups must pass: 10 000 times the same tag.
    let repeated: Vec<u8> = Elements::default().text(0x0018_0010, "LO", "x").bytes().repeat(10_000);
    let group = [b"\xfe\xff\x00\xe0".to_vec(), (repeated.len() as u32).to_le_bytes().to_vec(), repeated].concat();
    let dataset = single_pixels(60_000).value(0x5200_9229, "SQ", &group).value(0x7FE0_0010, "OW", &vec![0; 60_000]);
    refused("a long group", vec![dataset.file(EXPLICIT_LITTLE)], "is constant");
}

/// Texts of any length are cut in messages.
#[test]
fn long_texts_are_not_repeated() {
    let _alone = alone();
    let long = "7".repeat(60_000);
    let slice = || Elements::slice(1, 0.0, 0);
    refused("a UID", vec![slice().text(0x0020_000E, "UI", &long).file(EXPLICIT_LITTLE)], "wanted at most 64");
    refused(
        "a slope",
        vec![slice().text(0x0028_1053, "DS", format!("1{long}\\2")).file(EXPLICIT_LITTLE)],
        "(0028,1053)",
    );
    refused("frames", vec![slice().text(0x0028_0008, "IS", &long).file(EXPLICIT_LITTLE)], "frames, wanted a number");
    refused("a syntax", vec![slice().file(&long)], "uses transfer syntax");
}

/// Headers that promise 2^29 pixels in a few hundred bytes, whatever packs them.
#[test]
fn promised_pixels_are_compared_with_the_bytes() {
    let _alone = alone();
    let frame = Elements::slice(1, 0.0, 0).short(0x0028_0010, 16_384).short(0x0028_0011, 32_768).without(0x7FE0_0010);
    let mut runs = vec![0; 64];
    runs[0] = 2;
    runs[4] = 64;
    runs[8] = 66;
    runs.extend([0x81, 0, 0x81, 0]);
    let jpeg_ls: &[u8] =
        b"\xff\xd8\xff\xf7\0\x0b\x10\x40\0\x80\0\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\0\0\0\xff\xd9";
    let jpeg_2000 = [&b"\xff\x4f\xff\x51"[..], &[0; 200], b"\xff\xd9"].concat();
    for (syntax, stream) in [(RLE, &runs[..]), (JPEG_LS, jpeg_ls), (JPEG_2000, &jpeg_2000[..])] {
        let file = file_of(syntax, &[frame.bytes(), encapsulated(&[], &[stream])].concat());
        refused(syntax, vec![file], "promises 536870912 pixels, more than its");
    }
}

/// An offset table of as many frames as a file may have, with a fragment too many.
#[test]
fn an_offset_table_takes_one_pass() {
    let _alone = alone();
    let frames = 65_535u32;
    let mut run = vec![0; 64];
    run[0] = 1;
    run[4] = 64;
    run.extend([0, 0]);
    let table: Vec<u8> = (0..frames).flat_map(|frame| (74 * frame).to_le_bytes()).collect();
    let fragments = vec![&run[..]; frames as usize + 1];
    let dataset = single_pixels(u64::from(frames)).without(0x7FE0_0010).bytes();
    let file = file_of(RLE, &[dataset, encapsulated(&table, &fragments)].concat());
    refused("an offset table", vec![file], "is constant");
}

/// Files that look alike are compared in one pass, not each with each.
#[test]
fn files_that_look_alike_are_read_twice_at_most() {
    let _alone = alone();
    let file = |number: u16| Elements::slice(1, 0.0, number).text(0x0008_0018, "UI", "1.2.3").file(EXPLICIT_LITTLE);
    refused("alike", (0..3000).map(file).collect(), "has its SOPInstanceUID and other contents");
}

/// A PNG header promises 8192 x 8192 pixels in 69 bytes.
#[test]
fn promised_slices_are_compared_with_the_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chunk = |kind: &[u8], content: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(content);
        [&(content.len() as u32).to_be_bytes(), kind, content, &sum.sum().to_be_bytes()].concat()
    };
    let header = chunk(b"IHDR", b"\0\0\x20\0\0\0\x20\0\x08\0\0\0\0");
    let data = chunk(b"IDAT", b"\x78\x9c\x63\0\0\0\x01\0\x01");
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &header, &data, &chunk(b"IEND", b"")].concat();
    (0..8).for_each(|number| std::fs::write(folder.path().join(format!("{number}.png")), &png).expect("written"));
    let read = || read_volume(folder.path(), &VolumeOptions::default()).map_err(|error| error.to_string());
    let sentence = bounded("PNGs", 8 * png.len(), read).expect_err("a lie");
    assert!(sentence.contains("promises 8192 rows of 8192 pixels, more than its"), "{sentence}");
}

/// Headers of 60 MB: one endless shape, one endless name, a great many tensors.
#[test]
fn safetensors_headers_are_bounded() {
    let _alone = alone();
    let shape =
        [&b"{\"a\":{\"dtype\":\"F32\",\"shape\":[0"[..], &b",0".repeat(30_000_000), b"],\"data_offsets\":[0,0]}}"]
            .concat();
    let name =
        [&b"{\""[..], &b"\\n".repeat(30_000_000), b"\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}"]
            .concat();
    let kind = [&b"{\"a\":{\"dtype\":\""[..], &b"F".repeat(60_000_000), b"\"}}"].concat();
    let mut tensors = b"{".to_vec();
    for number in 0..1_200_000 {
        write!(tensors, "\"{number}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},").expect("written");
    }
    let cases = [
        ("a shape", shape, "more than 8 dimensions"),
        ("a name", name, "promises 4 bytes of tensors, but holds 0"),
        ("a type", kind, "type has a name of 60000000 bytes"),
        ("tensors", tensors, "more than 131072 tensors"),
    ];
    for (what, header, finding) in cases {
        let file = [&(header.len() as u64).to_le_bytes(), &header[..]].concat();
        let read = || safetensors::read_header(Path::new("a.safetensors"), &file).map_err(|error| error.to_string());
        // An eighth of the multiple that other files may take.
        let sentence = bounded(what, file.len() / 8, read).expect_err(what);
        assert!(sentence.contains(finding), "{what}: {sentence}");
    }
}
