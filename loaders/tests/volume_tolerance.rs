//! What other readers read is read: values that nobody needs are not checked, and what is guessed is said.

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;
#[path = "volume_support/nifti_file.rs"]
mod nifti_file;

use dicom_builder::{EXPLICIT_LITTLE, Elements, JPEG_2000, encapsulated, file_of};
use med2e3_loaders::volume::{
    Problem, RawVolume, VolumeOptions, parse_dicom_files, parse_nifti_bytes, parse_npy_bytes,
};
use nifti_file::nifti;

fn read(files: &[Vec<u8>]) -> Result<RawVolume, Problem> {
    read_with(files, &VolumeOptions::default())
}

fn read_with(files: &[Vec<u8>], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    let named: Vec<(String, Vec<u8>)> =
        files.iter().enumerate().map(|(number, bytes)| (format!("{number}.dcm"), bytes.clone())).collect();
    parse_dicom_files(&named, options)
}

/// Slices at these places.
fn stack(places: &[&str]) -> Vec<Elements> {
    let slice = |(number, z): (usize, &&str)| {
        Elements::slice(number as u32 + 1, 0.0, 100 * number as u16).text(0x0020_0032, "DS", format!("0\\0\\{z}"))
    };
    places.iter().enumerate().map(slice).collect()
}

fn files(slices: &[Elements]) -> Vec<Vec<u8>> {
    slices.iter().map(|slice| slice.file(EXPLICIT_LITTLE)).collect()
}

fn plain() -> Vec<Elements> {
    stack(&["0", "3", "6", "9"])
}

#[test]
fn positions_may_be_rounded_to_the_digit_they_are_written_in() {
    let rounded: [(&[&str], f64); 3] = [
        (&["0", "0.62", "1.25", "1.88", "2.5", "3.12", "3.75", "4.38"], 0.625),
        (&["0.0", "0.6", "1.2", "1.9", "2.5", "3.1", "3.8", "4.4"], 0.628),
        (&["-10", "-5", "1", "6", "12", "17", "23", "28"], 5.48),
    ];
    for (places, step) in rounded {
        let found = read(&files(&stack(places))).unwrap_or_else(|problem| panic!("{places:?}: {problem:?}"));
        let spacing = found.info.spacing_mm.expect("known")[0];
        assert!((spacing - step).abs() < 0.01 * step, "{places:?}: {spacing}");
    }
    let uneven: [&[&str]; 6] = [
        &["0", "1", "3"],
        &["0", "1", "2", "4", "5"],
        &["0", "0.62", "1.25", "1.88", "3.12", "3.75", "4.38"],
        &["0", "2", "4", "6.3"],
        &["0", "1", "2", "4", "5", "6", "8"],
        &["0.000", "2.000", "4.000", "6.021"],
    ];
    for places in uneven {
        let problem = read(&files(&stack(places))).expect_err("a gap");
        assert!(problem.finding.contains("is not one even stack"), "{places:?}: {problem:?}");
    }
}

#[test]
fn values_that_nobody_needs_are_not_checked() {
    let want = read(&files(&plain())).expect("a volume").voxels;
    let all = |edit: &dyn Fn(Elements) -> Elements| files(&plain().into_iter().map(edit).collect::<Vec<_>>());
    let odd: [(&str, Vec<Vec<u8>>); 3] = [
        ("a series id", all(&|slice| slice.text(0x0020_000E, "UI", "ID_e22a5534e6"))),
        ("no frames", all(&|slice| slice.text(0x0028_0008, "IS", 0))),
        ("a study id", all(&|slice| slice.text(0x0020_000D, "UI", "no UID"))),
    ];
    for (what, files) in odd {
        let found = read(&files).unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
        assert_eq!(found.voxels, want, "{what}");
    }
}

/// A file without its preamble, or without its mark as well.
#[test]
fn the_preamble_may_be_missing() {
    let want = read(&files(&plain())).expect("a volume").voxels;
    let length = Elements::default().value(0x0002_0000, "UL", &28u32.to_le_bytes()).bytes();
    for cut in [128, 132] {
        let cut_off = |file: Vec<u8>| [&file[cut..132], &length, &file[132..]].concat();
        let found = read(&files(&plain()).into_iter().map(cut_off).collect::<Vec<_>>()).expect("a volume");
        assert_eq!(found.voxels, want);
        let note = "the preamble of 128 bytes before the DICOM header is missing: 0.dcm, 1.dcm, 2.dcm, 3.dcm";
        assert!(found.info.notes.iter().any(|found| found == note), "{:?}", found.info.notes);
    }
}

/// The elements of a data set in implicit VR.
fn implicit(elements: &Elements) -> Vec<u8> {
    let bytes = elements.bytes();
    let mut rest = &bytes[..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        let is_long = [b"OB", b"OW", b"SQ", b"UN"].iter().any(|long| rest[4..6] == long[..]);
        let (head, length) = if is_long {
            (12, u32::from_le_bytes(rest[8..12].try_into().expect("four")))
        } else {
            (8, u32::from(u16::from_le_bytes([rest[6], rest[7]])))
        };
        let value = &rest[head..head + length as usize];
        out.extend([&rest[..4], &length.to_le_bytes(), value].concat());
        rest = &rest[head + length as usize..];
    }
    out
}

#[test]
fn elements_may_be_written_otherwise_than_the_syntax_says() {
    const IMPLICIT_LITTLE: &str = "1.2.840.10008.1.2";
    let want = read(&files(&plain())).expect("a volume");
    let sound: Vec<Vec<u8>> = plain().iter().map(|slice| file_of(IMPLICIT_LITTLE, &implicit(slice))).collect();
    assert_eq!(read(&sound).expect("a volume").info.notes, want.info.notes);
    let implicit_as_explicit: Vec<_> = plain().iter().map(|slice| file_of(EXPLICIT_LITTLE, &implicit(slice))).collect();
    let explicit_as_implicit: Vec<_> = plain().iter().map(|slice| slice.file(IMPLICIT_LITTLE)).collect();
    for files in [implicit_as_explicit, explicit_as_implicit] {
        let found = read(&files).expect("a volume");
        assert_eq!(found.voxels, want.voxels);
        assert!(found.info.notes.iter().any(|note| note.starts_with("elements are written with their types")));
    }
}

/// Frames of several fragments without an offset table, and bytes behind the end mark.
#[test]
fn frames_begin_at_their_marks_and_end_at_theirs() {
    let stream = include_bytes!("../../tests/src/fuzz/streams/ramp.j2k");
    let image = |frames: u32, pixels: &[u8]| {
        let elements = Elements::slice(1, 0.0, 0).sized(3, 4).text(0x0028_0008, "IS", frames).without(0x7FE0_0010);
        read(&[file_of(JPEG_2000, &[elements.bytes(), pixels.to_vec()].concat())])
    };
    let (start, end) = stream.split_at(40);
    let one = image(1, &encapsulated(&[], &[stream])).expect("a picture");
    let two = image(2, &encapsulated(&[], &[start, end, start, end])).expect("two pictures");
    assert_eq!(two.voxels, [&one.voxels[..], &one.voxels].concat());
    let trailing = [&stream[..], b"\0\0ab"].concat();
    assert_eq!(image(1, &encapsulated(&[], &[&trailing])).expect("a picture").voxels, one.voxels);
    assert!(image(2, &encapsulated(&[], &[start, end, end])).is_err(), "one mark for two frames");
    let cut = [&stream[..stream.len() - 8], &[1; 8]].concat();
    assert!(image(1, &encapsulated(&[], &[&cut])).expect_err("cut").finding.contains("without their end mark"));
}

/// A classic file of several frames: what it says of their places is used, and the rest is called a guess.
#[test]
fn frames_without_places_follow_the_normal() {
    let voxels: Vec<u8> = (0..3 * 48u16).flat_map(u16::to_le_bytes).collect();
    let cine = || Elements::slice(1, 0.0, 0).text(0x0028_0008, "IS", 3).value(0x7FE0_0010, "OW", &voxels);
    let found = read(&[cine().text(0x0018_0088, "DS", "2.5").file(EXPLICIT_LITTLE)]).expect("a volume");
    assert_eq!((found.dims, found.info.spacing_mm), ([3, 6, 8], Some([2.5, 0.5, 0.5])));
    assert_eq!(found.voxels[0], 96.0 - 1000.0, "the normal runs towards the head, so the last frame comes first");
    assert!(found.info.notes.iter().any(|note| note.contains("is a guess")), "{:?}", found.info.notes);
    assert!(!found.info.notes.iter().any(|note| note.contains("does not say how the body lies")));
    let flat = cine().text(0x0020_0037, "DS", "0\\1\\0\\0\\0\\-1");
    let found = read(&[flat.file(EXPLICIT_LITTLE)]).expect("a volume");
    assert_eq!((found.dims, found.info.spacing_mm), ([6, 8, 3], None), "sagittal frames");
    let bare = read(&[cine().without(0x0020_0037).file(EXPLICIT_LITTLE)]).expect("a volume");
    assert!(bare.info.notes.iter().any(|note| note.contains("does not say how the body lies")));
    assert_eq!(bare.voxels[0], -1000.0);
}

#[test]
fn what_is_no_stack_of_slices_is_said() {
    let mosaic = Elements::slice(1, 0.0, 0).text(0x0008_0008, "CS", "ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC");
    assert!(read(&[mosaic.file(EXPLICIT_LITTLE)]).expect_err("tiles").finding.contains("is a mosaic"));
    let long: Vec<u8> = (0..96u16).flat_map(u16::to_le_bytes).collect();
    let found = read(&[Elements::slice(1, 0.0, 0).value(0x7FE0_0010, "OW", &long).file(EXPLICIT_LITTLE)]).expect("one");
    let note = "96 bytes of pixels more than 1 frame(s) need were ignored: 0.dcm";
    assert!(found.info.notes.iter().any(|found| found == note), "{:?}", found.info.notes);
    let own_series = |(number, slice): (usize, Elements)| slice.text(0x0020_000E, "UI", format!("1.2.{number}"));
    let apart: Vec<Elements> = plain().into_iter().enumerate().map(own_series).collect();
    let problem = read(&files(&apart)).expect_err("four series");
    assert!(problem.finding.contains("4 slices, each with a SeriesInstanceUID of its own"), "{problem:?}");
}

#[test]
fn a_series_is_chosen_by_its_uid_or_its_number() {
    let first = plain();
    let second: Vec<Elements> = stack(&["0", "2", "4"])
        .into_iter()
        .map(|slice| slice.text(0x0020_000E, "UI", "1.2.77").text(0x0020_0011, "IS", 7))
        .collect();
    let both = files(&[first, second].concat());
    let series = |series: &str, index| VolumeOptions { series: Some(series.into()), index, ..VolumeOptions::default() };
    for (wanted, slices) in [("1", 4), ("1.2.1", 4), ("7", 3), ("1.2.77", 3)] {
        let found = read_with(&both, &series(wanted, None)).expect(wanted);
        assert_eq!(found.dims[0], slices, "{wanted}");
    }
    assert!(read_with(&both, &series("7", Some(0))).is_ok());
    assert!(read_with(&both, &series("7", Some(1))).expect_err("one volume").finding.contains("--index is 1"));
    let absent = read_with(&both, &series("8", None)).expect_err("absent");
    assert!(absent.finding.contains("holds no series \"8\"; it holds 1 (1.2.1), 7 (1.2.77)"), "{absent:?}");
    assert!(read(&both).expect_err("two").finding.contains("holds 2 volumes"));
    let other = parse_nifti_bytes(&nifti(1), &series("7", None)).expect_err("no DICOM");
    assert!(other.remedy.contains("--series"), "{other:?}");
}

#[test]
fn forms_that_contradict_each_other_are_noted() {
    let mut bytes = nifti(1);
    bytes[252..254].copy_from_slice(&1i16.to_le_bytes());
    let agreeing = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
    assert!(agreeing.info.notes.is_empty(), "{:?}", agreeing.info.notes);
    // Half a turn about z.
    bytes[264..268].copy_from_slice(&1f32.to_le_bytes());
    let found = parse_nifti_bytes(&bytes, &VolumeOptions::default()).expect("a volume");
    assert_eq!(found.voxels, agreeing.voxels);
    assert!(found.info.notes[0].contains("(code 1) says that the axes are RAS and the qform (code 1) says LPS"));
}

fn npy(shape: &str, count: usize) -> Vec<u8> {
    let dict = format!("{{'descr': '<i2', 'fortran_order': False, 'shape': ({shape}), }}\n");
    let voxels = (0..count).flat_map(|voxel| (voxel as i16).to_le_bytes());
    b"\x93NUMPY\x01\x00"
        .iter()
        .copied()
        .chain((dict.len() as u16).to_le_bytes())
        .chain(dict.bytes())
        .chain(voxels)
        .collect()
}

#[test]
fn axes_of_an_array_that_look_turned_are_refused() {
    let read = |shape: &str, count: usize| parse_npy_bytes(&npy(shape, count), &VolumeOptions::default());
    assert!(read("8, 8, 5", 320).expect_err("turned").finding.contains("looks like rows, columns, slices"));
    assert_eq!(read("1, 8, 8, 5", 320).expect("meant").dims, [8, 8, 5]);
    assert_eq!(read("5, 8, 8", 320).expect("slices first").dims, [5, 8, 8]);
    assert_eq!(read("8, 8, 8", 512).expect("a cube").dims, [8, 8, 8]);
    assert!(read("5, 8, 8, 3", 960).expect_err("colours").finding.contains("3 channel(s)"));
    assert!(read("3, 5, 8, 8", 960).expect_err("three").finding.contains("first axis may count channels"));
}
