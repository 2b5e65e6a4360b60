//! NIfTI pairs, types and orientations, and image folders, on files written by hand.

#[path = "volume_support/nifti_file.rs"]
mod nifti_file;

use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{GrayImage, Rgb, RgbImage};
use med2e3_loaders::volume::{VolumeOptions, parse_nifti_bytes, read_volume};
use nifti_file::nifti;
use std::io::Write;

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("written");
}

fn error(path: &Path) -> String {
    read_volume(path, &VolumeOptions::default()).expect_err("refused").to_string()
}

/// A .hdr with its .img, by either name, packed or not; the file to blame is named.
#[test]
fn nifti_pairs_are_read_together() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [header_path, data_path, packed_path] = ["a.hdr", "a.img", "a.img.gz"].map(|name| folder.path().join(name));
    let single = nifti(1);
    let mut header = single[..348].to_vec();
    header[344..348].copy_from_slice(b"ni1\0");
    header[108..112].copy_from_slice(&0f32.to_le_bytes());
    write(&header_path, &header);
    assert!(error(&header_path).contains("there is no .img file"), "{}", error(&header_path));

    let want = parse_nifti_bytes(&single, &VolumeOptions::default()).expect("the single file");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&single[352..]).expect("packed");
    write(&packed_path, &gzip.finish().expect("packed"));
    assert_eq!(read_volume(&header_path, &VolumeOptions::default()).expect("a pair").voxels, want.voxels);
    write(&data_path, &single[352..]);
    for path in [&header_path, &data_path] {
        let volume = read_volume(path, &VolumeOptions::default()).expect("a pair");
        assert_eq!((&volume.voxels, volume.dims), (&want.voxels, [6, 5, 4]));
    }
    write(&data_path, &single[352..400]);
    let text = error(&header_path);
    assert!(text.contains("a.img: holds 48 bytes") && text.contains("needs 240 bytes"), "{text}");
}

/// Every element type gives the same values, and the scale applies to them.
#[test]
fn nifti_types_and_scale() {
    type Encode = fn(u8) -> Vec<u8>;
    let types: [(i16, Encode); 10] = [
        (2, |n| vec![n]),
        (256, |n| vec![n]),
        (4, |n| i16::from(n).to_le_bytes().to_vec()),
        (512, |n| u16::from(n).to_le_bytes().to_vec()),
        (8, |n| i32::from(n).to_le_bytes().to_vec()),
        (768, |n| u32::from(n).to_le_bytes().to_vec()),
        (1024, |n| i64::from(n).to_le_bytes().to_vec()),
        (1280, |n| u64::from(n).to_le_bytes().to_vec()),
        (16, |n| f32::from(n).to_le_bytes().to_vec()),
        (64, |n| f64::from(n).to_le_bytes().to_vec()),
    ];
    for (code, encode) in types {
        let mut bytes = nifti(1);
        bytes[70..72].copy_from_slice(&code.to_le_bytes());
        bytes[112..116].copy_from_slice(&0.5f32.to_le_bytes());
        bytes[116..120].copy_from_slice(&(-3f32).to_le_bytes());
        bytes.truncate(352);
        bytes.extend((0..120).flat_map(encode));
        let volume = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
        // RAS: the last stored voxel comes first.
        assert_eq!((volume.voxels[0], volume.voxels[119]), (0.5 * 119.0 - 3.0, -3.0), "code {code}");
        assert_eq!(volume.info.rescale, Some([0.5, -3.0]));
    }
    for code in [0i16, 1, 32, 128, 1536, 2304, -1] {
        let mut bytes = nifti(1);
        bytes[70..72].copy_from_slice(&code.to_le_bytes());
        let problem = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect_err("no number");
        assert!(problem.finding.contains(&format!("datatype code {code} ")), "{problem:?}");
    }
}

/// A quaternion of half a turn about z, and its mirrored third axis.
#[test]
fn nifti_qform_turns_and_mirrors() {
    for (qfac, axes) in [(1f32, "LPS"), (-1.0, "LPI")] {
        let mut bytes = nifti(1);
        bytes[76..80].copy_from_slice(&qfac.to_le_bytes());
        bytes[252..256].copy_from_slice(&[1, 0, 0, 0]);
        bytes[264..268].copy_from_slice(&1f32.to_le_bytes());
        let volume = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
        assert_eq!(volume.info.orientation.expect("known").source_axes, axes);
    }
}

/// Slices in the order of their numbers, in Pillow's grey, those of another size left out with a note.
#[test]
fn image_folders_follow_the_recipe() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    for number in [2u8, 9, 10] {
        GrayImage::from_pixel(3, 2, image::Luma([number])).save(path(&format!("{number}.png"))).expect("written");
    }
    // Pillow: (200 * 19595 + 100 * 38470 + 50 * 7471 + 32768) >> 16 is 124.
    RgbImage::from_pixel(3, 2, Rgb([200, 100, 50])).save(path("1.png")).expect("written");
    GrayImage::from_pixel(4, 2, image::Luma([7])).save(path("3.png")).expect("written");
    write(&path("notes.txt"), b"not a slice");
    let volume = read_volume(folder.path(), &VolumeOptions::default()).expect("a volume");
    assert_eq!(volume.dims, [4, 2, 3]);
    let greys: Vec<f32> = volume.voxels.iter().step_by(6).map(|voxel| (voxel * 255.0).round()).collect();
    assert_eq!(greys, [124.0, 2.0, 9.0, 10.0]);
    let notes = volume.info.notes.join("\n");
    for want in ["1 slices of another size", "jump from 3 to 9", "1 files of the folder are no slices"] {
        assert!(notes.contains(want), "{notes}");
    }
    write(&path("4.png"), b"\x89PNG\r\n\x1a\nand then nothing");
    assert!(error(folder.path()).contains("4.png: cannot be decoded"), "{}", error(folder.path()));
    std::fs::rename(path("4.png"), path("four.png")).expect("renamed");
    assert!(error(folder.path()).contains("four.png: is a slice whose name"), "{}", error(folder.path()));
}
