//! A zip of one scan, a folder with one, DICOMDIR, and formats that are refused by name.

#[path = "volume_support/dicom_file.rs"]
mod dicom_file;
#[path = "volume_support/nifti_file.rs"]
mod nifti_file;

use std::io::Write;
use std::path::Path;

use dicom_file::{DicomSlice, element};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use image::GrayImage;
use med2e3_loaders::volume::{RawVolume, VolumeOptions, parse_dicom_files, parse_nifti_bytes, read_bytes, read_volume};
use nifti_file::nifti;
use rawzip::{CompressionMethod, ZipArchiveWriter, ZipDataWriter};

type Entry = (String, Vec<u8>);

/// A zip of these entries, deflated or not.
fn zip(entries: &[Entry], deflate: bool) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    let method = if deflate { CompressionMethod::DEFLATE } else { CompressionMethod::STORE };
    for (name, content) in entries {
        let (mut entry, config) = archive.new_file(name).compression_method(method).start().expect("a name");
        let descriptor = if deflate {
            let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
            data.write_all(content).expect("packed");
            let (encoder, descriptor) = data.finish().expect("packed");
            encoder.finish().expect("packed");
            descriptor
        } else {
            let mut data: ZipDataWriter<_> = config.wrap(&mut entry);
            data.write_all(content).expect("written");
            data.finish().expect("written").1
        };
        entry.finish(descriptor).expect("written");
    }
    archive.finish().expect("written")
}

fn entry(name: &str, content: impl Into<Vec<u8>>) -> Entry {
    (name.to_owned(), content.into())
}

fn read(bytes: &[u8]) -> Result<RawVolume, String> {
    read_bytes("scan.zip", bytes, &VolumeOptions::default()).map_err(|error| error.to_string())
}

fn read_path(path: &Path) -> Result<RawVolume, String> {
    read_volume(path, &VolumeOptions::default()).map_err(|error| error.to_string())
}

fn refused(bytes: &[u8], finding: &str) {
    let error = read(bytes).expect_err(finding);
    assert!(error.starts_with("scan.zip") && error.contains(finding) && error.contains("; "), "{error}");
    assert!(!error.contains('\n') && error.chars().count() <= 700, "{error}");
}

fn series() -> Vec<Entry> {
    (1..=4).map(|instance| DicomSlice::axial(instance).file()).collect()
}

#[test]
fn a_zip_of_any_scan_is_read() {
    let dicom = parse_dicom_files(&series(), &VolumeOptions::default()).expect("a series");
    let single = parse_nifti_bytes(&nifti(1), &VolumeOptions::default()).expect("a volume");
    let mut header = nifti(1)[..348].to_vec();
    header[344..348].copy_from_slice(b"ni1\0");
    header[108..112].copy_from_slice(&0f32.to_le_bytes());
    let voxels = nifti(1)[352..].to_vec();
    let meta = "ObjectType = Image\nNDims = 3\nTransformMatrix = -1 0 0 0 -1 0 0 0 1\nDimSize = 4 5 6\n\
        ElementType = MET_SHORT\nElementDataFile = ./voxels.raw\n";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&nifti(1)).expect("packed");
    let folder = |name: &str| series().into_iter().map(|(file, bytes)| (format!("{name}{file}"), bytes)).collect();
    let dicoms: Vec<Entry> = folder("CT/Series 2/");
    let outside: Vec<Entry> = folder("../../");
    let scans: [(Vec<Entry>, &RawVolume); 7] = [
        (dicoms, &dicom),
        ([outside, vec![entry("/etc/passwd", "root"), entry("CT/", "")]].concat(), &dicom),
        (vec![entry("a/scan.nii", nifti(1)), entry("readme.txt", "a scan")], &single),
        (vec![entry("scan.nii.gz", gzip.finish().expect("packed"))], &single),
        (vec![entry("a/scan.hdr", header), entry("a/scan.img", voxels.clone())], &single),
        (vec![entry("a/b/scan.mhd", meta), entry("a/b/voxels.raw", voxels.clone())], &single),
        (vec![entry("a/scan.mhd", meta), entry("a/voxels.raw", voxels), entry("b/voxels.raw", "no")], &single),
    ];
    for (entries, want) in scans {
        for deflate in [true, false] {
            let bytes = zip(&entries, deflate);
            let found = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", entries[0].0));
            assert_eq!((&found.voxels, found.dims), (&want.voxels, want.dims), "{}", entries[0].0);
            assert!(found.info.format.ends_with(" in a zip"), "{}", found.info.format);
            let file = tempfile::NamedTempFile::new().expect("a file");
            std::fs::write(file.path(), bytes).expect("written");
            assert_eq!(read_path(file.path()).expect("by path").voxels, want.voxels);
        }
    }
}

/// Slices in one folder of a zip are read, those in two are not one scan.
#[test]
fn a_zip_of_pictures_is_read() {
    let png = |value: u8| {
        let file = tempfile::Builder::new().suffix(".png").tempfile().expect("a file");
        GrayImage::from_fn(3, 2, |x, _| image::Luma([value + x as u8])).save(file.path()).expect("written");
        std::fs::read(file.path()).expect("there")
    };
    let entries = [entry("case/10.png", png(30)), entry("case/9.png", png(20)), entry("case/note.txt", "x")];
    let volume = read(&zip(&entries, true)).expect("a volume");
    let greys: Vec<f32> = volume.voxels.iter().step_by(6).map(|voxel| (voxel * 255.0).round()).collect();
    assert_eq!((greys, volume.dims), (vec![20.0, 30.0], [2, 2, 3]));
    let two = [entry("a/1.png", png(1)), entry("b/1.png", png(2))];
    refused(&zip(&two, false), "slices in 2 folders: a, b");
}

#[test]
fn zips_that_lie_or_hold_no_scan_are_refused() {
    let whole = zip(&series(), true);
    for end in (4..whole.len()).step_by(7) {
        assert!(read(&whole[..end]).is_err(), "cut to {end}");
    }
    refused(&zip(&[], true), "empty zip");
    refused(&zip(&[entry("a.txt", "x")], true), "1 files with no scan in it: a.txt");
    refused(&zip(&[entry("inner.zip", whole.clone())], true), "no scan, but other zips");
    refused(&zip(&[entry("a.nii", nifti(1)), entry("b.nii", nifti(1))], true), "holds 2 scans: a.nii, b.nii");
    let mhd = "ObjectType = Image\nNDims = 3\nTransformMatrix = -1 0 0 0 -1 0 0 0 1\nDimSize = 4 5 6\n\
        ElementType = MET_SHORT\nElementDataFile = ";
    let beside = |name: &str| zip(&[entry("a/scan.mhd", format!("{mhd}{name}\n")), entry("v.raw", vec![0; 240])], true);
    refused(&beside("../v.raw"), "outside of its own folder");
    refused(&beside("/etc/passwd"), "outside of its own folder");
    refused(&beside("v.raw"), "is not there");
    let twice = zip(&[entry("s.mhd", format!("{mhd}v.raw\n")), entry("v.raw", "a"), entry("v.raw", "b")], true);
    refused(&twice, "holds \"v.raw\" twice");
    // The flag of encryption, and a method that is not read, in the directory and before the entry.
    let changed = |offset: [usize; 2], value: [u8; 2]| {
        let mut bytes = zip(&[entry("a.nii", nifti(1))], false);
        let at = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").expect("a directory");
        bytes[offset[0]..offset[0] + 2].copy_from_slice(&value);
        bytes[at + offset[1]..at + offset[1] + 2].copy_from_slice(&value);
        bytes
    };
    refused(&changed([6, 8], [9, 0]), "encrypted");
    refused(&changed([8, 10], [14, 0]), "LZMA");
    // A size that is more than the bytes, and an entry that lies where another one does.
    let in_directory = |offset: usize, value: u32| {
        let mut bytes = zip(&[entry("a.nii", nifti(1)), entry("b.nii", nifti(1))], false);
        let at = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").expect("a directory");
        bytes[at + offset..at + offset + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    refused(&in_directory(24, 1 << 30), "\"b.nii\" promises 1073741824 bytes in 592");
    refused(&in_directory(42, 0), "entries overlap");
    // A checksum that is wrong.
    let mut bent = zip(&[entry("a.nii", nifti(1))], false);
    let voxels: Vec<u8> = [5i16, 6].into_iter().flat_map(i16::to_le_bytes).collect();
    let at = bent.windows(4).position(|window| window == voxels).expect("voxels");
    bent[at] ^= 1;
    refused(&bent, "cannot be read to its end");
}

/// What unpacks to much more than its bytes is refused before it is unpacked, and so are entries without end.
#[test]
fn zip_bombs_are_refused() {
    let bomb = zip(&[entry("a.nii", vec![0; 4 << 20])], true);
    refused(&bomb, "more than 200 times");
    let mut many = ZipArchiveWriter::new(Vec::new());
    for number in 0..100_001 {
        let (entry, config) = many.new_file(number.to_string()).start().expect("a name");
        let mut entry = entry;
        let data: ZipDataWriter<_> = config.wrap(&mut entry);
        let descriptor = data.finish().expect("empty").1;
        entry.finish(descriptor).expect("written");
    }
    refused(&many.finish().expect("written"), "more than 100000 entries");
}

#[test]
fn known_formats_are_refused_by_name() {
    let mgh = [1u32, 4, 5, 6, 1, 4].into_iter().flat_map(u32::to_be_bytes).chain([0; 400]).collect::<Vec<u8>>();
    let mut mgz = GzEncoder::new(Vec::new(), Compression::fast());
    mgz.write_all(&mgh).expect("packed");
    let mgz = mgz.finish().expect("packed");
    let mut analyze = nifti(1)[..348].to_vec();
    analyze[344..348].copy_from_slice(&[0; 4]);
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    let mut tgz = GzEncoder::new(Vec::new(), Compression::fast());
    tgz.write_all(&tar).expect("packed");
    let tgz = tgz.finish().expect("packed");
    let npz = zip(&[entry("a.npy", "x"), entry("b.npy", "y")], false);
    for (bytes, name, way) in [
        (mgh, "FreeSurfer", "mri_convert"),
        (mgz, "FreeSurfer", "mri_convert"),
        (analyze, "ANALYZE 7.5", "convert it to NIfTI"),
        (b"II*\0and more".to_vec(), "TIFF", "PNG slices"),
        (b"MM\0+and more".to_vec(), "TIFF", "PNG slices"),
        (tgz, "tar archive", "unpack it"),
        (npz, ".npz", "numpy.save"),
        (b"\x89HDF\r\n\x1a\n".to_vec(), "HDF5", "convert the volume"),
    ] {
        let error = read(&bytes).expect_err(name);
        assert!(error.contains(name) && error.contains(way), "{error}");
    }
}

#[test]
fn a_folder_with_one_scan_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("inner")).expect("made");
    assert!(read_path(folder.path()).expect_err("empty").contains("is an empty folder"));
    std::fs::write(at("read.me"), "words").expect("written");
    assert!(read_path(folder.path()).expect_err("no scan").contains("without a scan or PNG or JPEG slice: read.me"));
    std::fs::write(at("inner/ct.nii"), nifti(1)).expect("written");
    let found = read_path(folder.path()).expect("a volume");
    assert!(found.info.notes.iter().any(|note| note.contains("ct.nii was read, the only scan")), "{:?}", found.info);
    std::fs::write(at("inner/mask.nii"), nifti(1)).expect("written");
    let error = read_path(folder.path()).expect_err("two");
    assert!(error.contains("holds 2 scans: ct.nii, mask.nii"), "{error}");
    std::fs::remove_file(at("inner/mask.nii")).expect("removed");
    std::fs::write(at("inner/ct.nii"), &nifti(1)[..360]).expect("written");
    assert!(read_path(folder.path()).expect_err("cut").contains("ct.nii: holds 360 bytes"));
}

/// A DICOMDIR that lists these files.
fn directory(files: &[&str]) -> Vec<u8> {
    let item = |content: &[u8]| [&b"\xfe\xff\x00\xe0"[..], &(content.len() as u32).to_le_bytes(), content].concat();
    let records =
        files.iter().flat_map(|file| item(&element(0x0004_1500, b"CS", file.as_bytes()))).collect::<Vec<u8>>();
    let records = [item(&[]), records].concat();
    let meta =
        [element(0x0002_0002, b"UI", b"1.2.840.10008.1.3.10"), element(0x0002_0010, b"UI", b"1.2.840.10008.1.2.1\0")]
            .concat();
    [&[0; 128], &b"DICM"[..], &meta, &element(0x0004_1220, b"SQ", &records)].concat()
}

#[test]
fn a_dicomdir_names_the_files_of_a_disc() {
    let folder = tempfile::tempdir().expect("a folder");
    let disc = folder.path().join("disc");
    std::fs::create_dir_all(disc.join("images/ct")).expect("made");
    for (number, (_, bytes)) in series().into_iter().enumerate() {
        std::fs::write(disc.join(format!("images/ct/im{number}")), bytes).expect("written");
    }
    let (_, stray) = DicomSlice { series: 9, ..DicomSlice::axial(7) }.file();
    std::fs::write(folder.path().join("stray"), &stray).expect("written");
    std::fs::write(disc.join("other"), stray).expect("written");
    let listing = |files: &[&str]| {
        std::fs::write(disc.join("DICOMDIR"), directory(files)).expect("written");
        read_path(&disc.join("DICOMDIR"))
    };
    let all: Vec<String> = (0..4).map(|number| format!("IMAGES\\CT\\IM{number}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let found = listing(&all).expect("a series");
    assert_eq!(found.voxels, parse_dicom_files(&series(), &VolumeOptions::default()).expect("a series").voxels);
    let found = listing(&[&all[..], &["IMAGES\\CT\\IM9"]].concat()).expect("a series");
    assert!(found.info.notes.iter().any(|note| note.contains("1 files that the DICOMDIR lists are not there")));
    for outside in ["..\\STRAY", "/etc/passwd", "IMAGES\\..\\..\\STRAY", "", ".", "A\\\\B"] {
        let error = listing(&[&all[..], &[outside]].concat());
        // An empty name is none.
        assert!(outside.is_empty() == error.is_ok(), "{outside}");
        if let Err(error) = error {
            assert!(error.contains("no file below its own folder"), "{error}");
        }
    }
    assert!(listing(&["ABSENT"]).expect_err("nothing").contains("lists 1 files, of which none is there"));
}
