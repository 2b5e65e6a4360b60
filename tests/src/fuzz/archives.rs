//! Zips of one scan, and the DICOMDIR of a disc.
use super::dicom::{EXPLICIT_LITTLE, element, meta_of, slice, tag_bytes};
use super::{Seed, case_folder, seeds, volumes, write};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use med2e3_loaders::volume::{VolumeOptions, read_bytes, read_volume};
use rawzip::{CompressionMethod, ZipArchiveWriter};
use std::io::Write;

/// The media storage class of a DICOMDIR.
const DIRECTORY_CLASS: &str = "1.2.840.10008.1.3.10";
const SLICES: [&str; 3] = ["IM1", "IM2", "IM3"];

/// A zip of deflated entries.
fn deflated(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, content) in entries {
        let entry = archive.new_file(name).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = entry.start().expect("the name is valid");
        let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
        data.write_all(content).expect("a vector takes all");
        let (packed, descriptor) = data.finish().expect("a vector takes all");
        packed.finish().expect("a vector takes all");
        entry.finish(descriptor).expect("a vector takes all");
    }
    archive.finish().expect("a vector takes all")
}

/// Plain and deflated, mutated as they are and in the scan within them.
pub(super) fn zip_seeds() -> Vec<Seed> {
    let slices =
        |middle: Vec<u8>| [("CT/IM1", slice(1)), ("CT/IM2", middle), ("CT/IM3", slice(3)), ("README", vec![b'x'; 9])];
    vec![
        Seed::whole(seeds::zip(&[("scan.nii", seeds::nifti_1()), ("read.me", b"words".to_vec())])),
        Seed::whole(deflated(&slices(slice(2)))),
        Seed::part(slice(2), move |middle| deflated(&slices(middle))),
        Seed::part(seeds::nifti_1(), |scan| seeds::zip(&[("scan.nii", scan)])),
    ]
}

pub(super) fn read_zip(bytes: &[u8]) -> Result<(), String> {
    volumes::settle(read_bytes("scan.zip", bytes, &VolumeOptions::default()))
}

/// The records of a patient, without a file, and of three slices.
pub(super) fn directory_seeds() -> Vec<Seed> {
    let item =
        |content: &[u8]| [tag_bytes(0xfffe_e000).as_slice(), &(content.len() as u32).to_le_bytes(), content].concat();
    let kind = |kind: &str| element(0x0004_1430, "CS", kind.as_bytes());
    let file = |name: &&str| {
        item(&[element(0x0004_1430, "CS", b"IMAGE"), element(0x0004_1500, "CS", name.as_bytes())].concat())
    };
    let records = [item(&kind("PATIENT")), SLICES.iter().flat_map(file).collect()].concat();
    let head = meta_of(DIRECTORY_CLASS, 9, EXPLICIT_LITTLE);
    vec![Seed::whole([head, element(0x0004_1220, "SQ", &records)].concat())]
}

/// The bytes are a DICOMDIR beside sound slices.
pub(super) fn read_directory(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    let disc = folder.path().join("disc");
    std::fs::create_dir(&disc).expect("a folder");
    for (number, name) in SLICES.iter().enumerate() {
        write(disc.join(name), slice(number as u16 + 1));
    }
    let list = disc.join("DICOMDIR");
    write(list.clone(), bytes);
    volumes::settle(read_volume(&list, &VolumeOptions::default()))
}
