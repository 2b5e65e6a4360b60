//! Every slice that was read says where it comes from, whatever the order of the files.

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;
#[path = "volume_support/nifti_file.rs"]
mod nifti_file;
#[allow(dead_code)]
mod volume_support;

use dicom_builder::{EXPLICIT_LITTLE, Elements};
use med2e3_loaders::volume::{
    RawVolume, SliceOrder, SourceSlice, VolumeKind, VolumeOptions, parse_dicom_files, parse_nifti_bytes,
};
use nifti_file::nifti;
use volume_support::shared_data;

fn slice(number: u32) -> Elements {
    Elements::slice(number, 2.0 * f64::from(number), 100 * number as u16)
        .text(0x0008_0018, "UI", format!("1.2.1.{number}"))
        .text(0x0020_000D, "UI", "1.2")
        .text(0x0020_0052, "UI", "1.9")
}

fn read(slices: &[Elements], slice_order: SliceOrder) -> RawVolume {
    let file = |(number, slice): (usize, &Elements)| (format!("{number}"), slice.file(EXPLICIT_LITTLE));
    let files: Vec<(String, Vec<u8>)> = slices.iter().enumerate().map(file).collect();
    parse_dicom_files(&files, &VolumeOptions { slice_order, ..VolumeOptions::default() }).expect("a volume")
}

/// The number of the slice that a voxel belongs to.
fn number_of(volume: &RawVolume, slice: usize) -> i64 {
    let plane = volume.dims[1] * volume.dims[2];
    ((volume.voxels[slice * plane] + 1000.0) / 100.0) as i64
}

#[test]
fn slices_know_their_files_in_any_order() {
    for order in [[1, 2, 3, 4], [3, 1, 4, 2], [4, 3, 2, 1]] {
        for slice_order in [SliceOrder::SuperiorFirst, SliceOrder::InferiorFirst] {
            let volume = read(&order.map(slice), slice_order);
            assert_eq!(volume.info.slices.len(), 4);
            for (place, found) in volume.info.slices.iter().enumerate() {
                let number = number_of(&volume, place);
                let want = SourceSlice {
                    sop_instance_uid: Some(format!("1.2.1.{number}")),
                    frame: Some(1),
                    instance_number: Some(number),
                    position_mm: Some([-10.0, -20.0, 2.0 * number as f64]),
                };
                assert_eq!(*found, want);
            }
            let identity = volume.info.identity;
            assert_eq!(identity.study_uid.as_deref(), Some("1.2"));
            assert_eq!(identity.series_uid.as_deref(), Some("1.2.1"));
            assert_eq!((identity.series_number, identity.frame_of_reference_uid.as_deref()), (Some(1), Some("1.9")));
        }
    }
    let other = read(&[slice(1), slice(2).text(0x0020_0052, "UI", "1.8")], SliceOrder::SuperiorFirst);
    assert_eq!(other.info.identity.frame_of_reference_uid, None, "two frames of reference");
}

/// Frames count from 1; what lies across the files has a place and no file.
#[test]
fn frames_and_slices_across_the_files() {
    let place = |z: i32| Elements::default().text(0x0020_0032, "DS", format!("-10\\-20\\{z}"));
    let group = |z: i32| Elements::default().items(0x0020_9113, &[place(z)]);
    let voxels: Vec<u8> = (0..3 * 48u16).flat_map(u16::to_le_bytes).collect();
    let frames = slice(1).text(0x0028_0008, "IS", 3).items(0x5200_9230, &[group(4), group(0), group(2)]).value(
        0x7FE0_0010,
        "OW",
        &voxels,
    );
    let volume = read(std::slice::from_ref(&frames), SliceOrder::SuperiorFirst);
    let found: Vec<_> =
        volume.info.slices.iter().map(|slice| (slice.frame, slice.position_mm.expect("known")[2])).collect();
    assert_eq!(found, [(Some(1), 4.0), (Some(3), 2.0), (Some(2), 0.0)]);

    let coronal: Vec<Elements> = (1..=3)
        .map(|number| {
            slice(number).text(0x0020_0037, "DS", "1\\0\\0\\0\\0\\-1").text(
                0x0020_0032,
                "DS",
                format!("0\\{number}\\30"),
            )
        })
        .collect();
    let volume = read(&coronal, SliceOrder::SuperiorFirst);
    assert_eq!(volume.dims, [6, 3, 8]);
    let heights: Vec<f64> = volume.info.slices.iter().map(|slice| slice.position_mm.expect("known")[2]).collect();
    assert_eq!(heights, [30.0, 29.5, 29.0, 28.5, 28.0, 27.5], "rows of half a millimetre, from the top down");
    assert!(volume.info.slices.iter().all(|slice| slice.sop_instance_uid.is_none() && slice.frame.is_none()));
}

#[test]
fn grids_know_the_places_of_their_slices() {
    let mut bytes = nifti(1);
    for (row, origin) in [3f32, -7.0, 10.0].into_iter().enumerate() {
        bytes[280 + 16 * row + 12..280 + 16 * row + 16].copy_from_slice(&origin.to_le_bytes());
    }
    let volume = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
    let places: Vec<[f64; 3]> = volume.info.slices.iter().map(|slice| slice.position_mm.expect("known")).collect();
    // RAS has the head last; DICOM's x runs to the left and its y to the back.
    assert_eq!(places, [15.0, 14.0, 13.0, 12.0, 11.0, 10.0].map(|z| [-3.0, 7.0, z]));
}

#[test]
fn uids_are_hashed_everywhere() {
    let mut volume = read(&[slice(1), slice(2)], SliceOrder::SuperiorFirst);
    let plain = volume.info.clone();
    volume.info.hash_uids();
    let text = format!("{:?} {:?}", volume.info.identity, volume.info.slices);
    assert!(!text.contains("\"1.2"), "{text}");
    assert_eq!(volume.info.slices[0].position_mm, plain.slices[0].position_mm);
    assert_ne!(volume.info.slices[0].sop_instance_uid, volume.info.slices[1].sop_instance_uid);
}

/// A whole CT series in shuffled order: each slice's UID is that of the file whose pixels it has.
#[test]
fn shuffled_real_series() {
    let Some(root) = shared_data() else { return };
    let folder = root.join("dicom/ct_lidc0314_31slices_implicitLE");
    let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
        .expect("the series is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), std::fs::read(&path).expect("readable")))
        .collect();
    files.sort_by_key(|(_, bytes)| bytes.iter().rev().fold(0u64, |sum, &byte| sum.rotate_left(5) ^ u64::from(byte)));
    let options = VolumeOptions::default();
    let whole = parse_dicom_files(&files, &options).expect("a series");
    let plane = whole.dims[1] * whole.dims[2];
    for file in files.chunks(1).filter(|file| !file[0].0.ends_with(".txt")) {
        let Ok(alone) = parse_dicom_files(file, &options) else { continue };
        let uid = &alone.info.slices[0].sop_instance_uid;
        let place = whole.info.slices.iter().position(|slice| slice.sop_instance_uid == *uid).expect("one of them");
        assert!(uid.is_some() && whole.voxels[place * plane..][..plane] == alone.voxels[..], "{uid:?}");
    }
}

/// An array in memory with an affine is turned as the NIfTI file of the same voxels is.
#[test]
fn an_array_with_an_affine_is_turned() {
    let voxels: Vec<f32> = (0..120u8).map(f32::from).collect();
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
    let options = VolumeOptions::default();
    let found = RawVolume::from_array(&voxels, [4, 5, 6], affine, VolumeKind::Intensity, &options).expect("a volume");
    let want = parse_nifti_bytes(&nifti(1), &options).expect("a volume");
    assert_eq!((&found.voxels, found.dims), (&want.voxels, want.dims));
    assert_eq!((&found.info.orientation, &found.info.slices), (&want.info.orientation, &want.info.slices));
    for (dims, affine, finding) in [
        ([4, 5, 7], affine, "sizes are [4, 5, 7]"),
        ([4, 5, 6], [[0.0; 4]; 3], "singular"),
        ([4, 5, 6], [[f64::NAN; 4]; 3], "singular"),
    ] {
        let error = RawVolume::from_array(&voxels, dims, affine, VolumeKind::Intensity, &options).expect_err(finding);
        assert!(error.to_string().contains(finding), "{error}");
    }
}
