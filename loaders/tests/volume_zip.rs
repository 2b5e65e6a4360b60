//! A DICOM series in one zip archive.
#![cfg(feature = "dicom")]

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;

use dicom_builder::{EXPLICIT_LITTLE, Elements};
use med2e3_loaders::Error;
use med2e3_loaders::volume::{RawVolume, VolumeOptions, parse_dicom_files, read_volume};
use rawzip::{CompressionMethod, ZipArchiveWriter, ZipDataWriter};
use std::io::Write;

type Named = (String, Vec<u8>);

fn slices() -> Vec<Named> {
    let slice = |place: u16| Elements::slice(u32::from(place) + 1, 2.0 * f64::from(place), 100 * place);
    (0..4).map(|place| (format!("series/{place:03}.dcm"), slice(place).file(EXPLICIT_LITTLE))).collect()
}

fn zip(files: &[Named], deflate: bool) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, bytes) in files {
        let method = if deflate { CompressionMethod::DEFLATE } else { CompressionMethod::STORE };
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
        let descriptor = if deflate {
            let packer = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
            let mut writer = config.wrap(packer);
            writer.write_all(bytes).unwrap();
            let (packer, descriptor) = writer.finish().unwrap();
            packer.finish().unwrap();
            descriptor
        } else {
            let mut writer: ZipDataWriter<_> = config.wrap(&mut entry);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap().1
        };
        entry.finish(descriptor).unwrap();
    }
    archive.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<RawVolume, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("upload");
    std::fs::write(&path, bytes).unwrap();
    read_volume(&path, &VolumeOptions::default())
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).expect_err("no volume").to_string()
}

#[test]
fn a_series_in_a_zip_is_the_series() {
    let want = parse_dicom_files(&slices(), &VolumeOptions::default()).unwrap();
    for deflate in [false, true] {
        let found = read(&zip(&slices(), deflate)).unwrap();
        assert_eq!((found.voxels, found.dims), (want.voxels.clone(), want.dims));
        assert_eq!(found.info.notes, want.info.notes);
    }
}

#[test]
fn names_are_labels_and_what_is_no_dicom_is_ignored() {
    let mut files = slices();
    files[0].0 = "../../../etc/passwd".into();
    files[1].0 = "dir/../x".into();
    files.push(("README.txt".into(), b"see the report".to_vec()));
    files.push(("inner.zip".into(), zip(&slices(), true)));
    let found = read(&zip(&files, true)).unwrap();
    assert_eq!(found.dims[0], 4);
    assert!(found.info.notes.iter().any(|note| note.contains("README.txt")), "{:?}", found.info.notes);
}

#[test]
fn an_archive_without_a_series_is_refused() {
    assert!(refused(&zip(&[("a.npy".into(), vec![1; 200])], true)).contains("without a DICOM file"));
    assert!(refused(&zip(&[], true)).contains("0 files"));
    assert!(refused(b"PK\x03\x04").contains("zip archive"));
}

/// Whatever is cut or changed, the archive is refused or read as it was; nothing panics, and no size is believed.
#[test]
fn a_damaged_archive_is_refused() {
    let whole = zip(&slices(), true);
    for length in (4..whole.len()).step_by(7) {
        assert!(read(&whole[..length]).is_err(), "{length}");
    }
    let want = read(&whole).unwrap().voxels;
    for at in (0..whole.len()).step_by(3) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        if let Ok(found) = read(&bytes) {
            assert!(found.voxels == want || found.dims[0] < 4, "{at}");
        }
    }
    // Sizes in the directory that nothing could be packed into.
    let mut bomb = whole;
    let directory = bomb.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    bomb[directory + 24..directory + 28].copy_from_slice(&u32::MAX.to_le_bytes()[..]);
    bomb[directory + 27] = 0x7f;
    let message = refused(&bomb);
    assert!(message.contains("are packed") || message.contains("zip archive"), "{message}");
}
