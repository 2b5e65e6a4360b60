//! Memory that runs out is one sentence and exit status 1; memory is never allocated for what a file only promises.

#[path = "../../../../loaders/tests/volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use dicom_builder::{Elements, RLE, encapsulated, file_of};
use flate2::write::GzEncoder;
use flate2::{Compression, FlushCompress};

use super::{text, tiny_model};

/// Runs the binary with at most `mebibytes` of address space: its status, and its one sentence.
fn limited(mebibytes: u64, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &(mebibytes << 10).to_string()]);
    command.arg(env!("CARGO_BIN_EXE_engine-cli")).args(arguments);
    let output = command.stdin(Stdio::null()).output().expect("sh starts");
    let stderr = String::from_utf8(output.stderr).expect("text is UTF-8");
    assert_eq!(stderr.lines().count(), 1, "{mebibytes} MiB, {arguments:?}: {stderr}");
    (output.status.code(), stderr)
}

/// Reads `volume` under a limit that is too low for it.
fn runs_out(mebibytes: u64, volume: &Path) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("out.npy");
    let (status, sentence) = limited(mebibytes, &["preprocess", "--volume", text(volume), "--out", text(&out)]);
    assert_eq!(status, Some(1), "{mebibytes} MiB: {sentence}");
    assert!(sentence.contains("memory ran out") && sentence.contains("; free memory"), "{sentence}");
    assert!(!out.exists());
}

/// A gzip file of half a megabyte that holds 2^29 voxels: members of zeros, one after the other.
#[test]
fn a_volume_larger_than_memory_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.nii.gz");
    let member = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).expect("packed");
        packed.finish().expect("packed")
    };
    let mut header = vec![0; 352];
    header[..4].copy_from_slice(&348i32.to_le_bytes());
    for (axis, size) in [3i16, 1024, 1024, 512, 1, 1, 1, 1].into_iter().enumerate() {
        header[40 + 2 * axis..][..2].copy_from_slice(&size.to_le_bytes());
        header[76 + 4 * axis..][..4].copy_from_slice(&1f32.to_le_bytes());
    }
    header[70] = 2;
    header[72] = 8;
    header[108..112].copy_from_slice(&352f32.to_le_bytes());
    header[344..347].copy_from_slice(b"n+1");
    let zeros = member(&vec![0; 1 << 20]);
    std::fs::write(&path, [member(&header), zeros.repeat(512)].concat()).expect("written");
    assert!(path.metadata().expect("written").len() < 1 << 20);
    [500, 1000].into_iter().for_each(|mebibytes| runs_out(mebibytes, &path));
}

/// Run lengths of 2^28 pixels in four frames are 4 MB, and their voxels 1 GiB.
#[test]
fn a_large_slice_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("large.dcm");
    let mut frame = vec![0; 64];
    frame[0] = 1;
    frame[4] = 64;
    frame.extend([0x81, 0].repeat(1 << 19));
    let slice = Elements::slice(1, 0.0, 0).without(0x7FE0_0010).short(0x0028_0100, 8).short(0x0028_0101, 8);
    // Four frames of 2^26 pixels: one of them takes 256 MiB to unpack, all voxels together 1 GiB.
    let slice =
        slice.short(0x0028_0102, 7).short(0x0028_0010, 8192).short(0x0028_0011, 8192).text(0x0028_0008, "IS", 4);
    let pixels = encapsulated(&[], &[&frame[..]; 4]);
    std::fs::write(&path, file_of(RLE, &[slice.bytes(), pixels].concat())).expect("written");
    [500, 1000].into_iter().for_each(|mebibytes| runs_out(mebibytes, &path));
}

/// The pixels of an 8192 x 8192 PNG of 16-bit RGBA that are all zero but one, as one zlib stream.
fn zlib_of_a_picture() -> Vec<u8> {
    const BYTES: usize = 8192 * (1 + 8192 * 8);
    let mut first = vec![0; 1 << 16];
    first[1] = 1;
    let flushed = |bytes: &[u8], how| {
        let mut packed = Vec::with_capacity(1 << 16);
        flate2::Compress::new(Compression::fast(), false).compress_vec(bytes, &mut packed, how).expect("packed");
        packed
    };
    let zeros = vec![0; 1 << 16];
    let more = BYTES - first.len();
    let rest = flushed(&zeros[..more % zeros.len()], FlushCompress::Finish);
    let middle = flushed(&zeros, FlushCompress::Full).repeat(more / zeros.len());
    let stream = [b"\x78\x01".to_vec(), flushed(&first, FlushCompress::Full), middle, rest].concat();
    // Adler-32: the sum of the bytes, and the sum of all its values on the way.
    let sums = (2 * (BYTES - 1) + 1) % 65_521;
    [stream, vec![(sums >> 8) as u8, sums as u8, 0, 2]].concat()
}

/// Four pictures of half a gigabyte each are decoded one after the other: memory for two is not there.
#[test]
fn decoded_slices_share_one_budget() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chunk = |kind: &[u8], content: &[u8]| {
        let mut sum = flate2::Crc::new();
        sum.update(kind);
        sum.update(content);
        [&(content.len() as u32).to_be_bytes(), kind, content, &sum.sum().to_be_bytes()].concat()
    };
    let header = chunk(b"IHDR", b"\0\0\x20\0\0\0\x20\0\x10\x06\0\0\0");
    let data = chunk(b"IDAT", &zlib_of_a_picture());
    let png = [&b"\x89PNG\r\n\x1a\n"[..], &header, &data, &chunk(b"IEND", b"")].concat();
    (0..4).for_each(|number| std::fs::write(folder.path().join(format!("{number}.png")), &png).expect("written"));
    [800, 1400].into_iter().for_each(|mebibytes| runs_out(mebibytes, folder.path()));
}

/// A tensor table of 60 MB is refused for what it says where there is room to look at it, and else is one sentence too.
#[test]
fn a_long_table_of_tensors_is_one_sentence() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("model");
    copy(Path::new(tiny_model()), &model);
    let header = [&b"{\"a\":{\"dtype\":\"F32\",\"shape\":[0"[..], &b",0".repeat(30_000_000), b"]}}"].concat();
    let file = [&(header.len() as u64).to_le_bytes(), &header[..]].concat();
    std::fs::write(model.join("llm").join("model.safetensors"), file).expect("written");
    let (status, sentence) = limited(1000, &["inspect", "--model", text(&model)]);
    assert!(status == Some(3) && sentence.contains("more than 8 dimensions"), "{status:?}: {sentence}");
    let (status, sentence) = limited(300, &["inspect", "--model", text(&model)]);
    assert!(status == Some(1) && sentence.contains("memory ran out"), "{status:?}: {sentence}");
}

/// Copies a folder and all below it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).expect("copied")),
        }
    }
}
