//! Copies, damaged files and pictures of something else beside a sound scan, on files put together here.

#[path = "volume_support/dicom_builder.rs"]
#[allow(dead_code)]
mod dicom_builder;

use dicom_builder::{EXPLICIT_LITTLE, Elements, HTJ2K};
use med2e3_loaders::volume::{Problem, RawVolume, VolumeOptions, parse_dicom_files, read_volume};

const SOP_INSTANCE: u32 = 0x0008_0018;
const IMAGE_TYPE: u32 = 0x0008_0008;

type Named = (String, Vec<u8>);

fn slice(number: u16) -> Elements {
    Elements::slice(u32::from(number), 2.0 * f64::from(number), 100 * number)
        .text(SOP_INSTANCE, "UI", format!("1.2.3.{number}"))
        .text(IMAGE_TYPE, "CS", "ORIGINAL\\PRIMARY\\AXIAL")
}

fn named(name: &str, file: Vec<u8>) -> Named {
    (format!("scans/{name}"), file)
}

/// Six sound slices, 1.dcm to 6.dcm.
fn scan() -> Vec<Named> {
    (1..=6).map(|number| named(&format!("{number}.dcm"), slice(number).file(EXPLICIT_LITTLE))).collect()
}

fn read(files: &[Named]) -> Result<RawVolume, Problem> {
    parse_dicom_files(files, &VolumeOptions::default())
}

/// The scan is read as if the others were not there, and one note says all of `wanted`.
fn assert_left_out(others: Vec<Named>, wanted: &[&str]) {
    let files = [scan(), others].concat();
    let volume = read(&files).unwrap_or_else(|problem| panic!("{wanted:?}: {problem:?}"));
    assert_eq!(volume.voxels, read(&scan()).expect("a sound scan").voxels, "{wanted:?}");
    let notes = &volume.info.notes;
    assert!(notes.iter().any(|note| wanted.iter().all(|want| note.contains(want))), "{wanted:?}: {notes:?}");
}

fn assert_refused(files: &[Named], file: &str, finding: &str) {
    let problem = read(files).expect_err(finding);
    assert!(problem.file.as_ref().is_some_and(|blamed| blamed.ends_with(file)), "{problem:?}");
    assert!(problem.finding.contains(finding), "{problem:?}");
}

/// A copy counts once: of the whole scan, of one slice, with another file header, without a SOPInstanceUID.
#[test]
fn copies_count_once() {
    let copies = scan().into_iter().map(|(name, file)| (name.replace(".dcm", " (1).dcm"), file)).collect();
    assert_left_out(copies, &["6 files are copies of others, byte for byte, and count once: 1 (1).dcm, 2 (1).dcm"]);
    let bytes = slice(3).bytes();
    let other_header = Elements::default().text(0x0002_0010, "UI", EXPLICIT_LITTLE).text(0x0002_0013, "SH", "EXPORT 2");
    let file = [&[7; 128], &b"DICM"[..], &other_header.bytes(), &bytes].concat();
    assert_left_out(vec![named("again.dcm", file)], &["1 files are copies", "again.dcm"]);
    let nameless = |number: u16| slice(number).without(SOP_INSTANCE).file(EXPLICIT_LITTLE);
    let twice: Vec<Named> = (0..8).map(|file| named(&format!("{file}.dcm"), nameless(1 + file / 2))).collect();
    assert_eq!(read(&twice).expect("four slices").dims[0], 4);
}

/// One SOPInstanceUID with two contents: only the user can say which slice is meant. A writer that gives all slices one
/// UID is another matter, for their places tell them apart.
#[test]
fn one_uid_with_other_contents_is_no_copy() {
    let changed = slice(3).text(0x0028_1052, "DS", -1024).file(EXPLICIT_LITTLE);
    let files = [scan(), vec![named("changed.dcm", changed)]].concat();
    assert_refused(
        &files,
        "changed.dcm",
        "is at the same place as scans/3.dcm, and has its SOPInstanceUID and other contents",
    );
    let same = |number: u16| slice(number).text(SOP_INSTANCE, "UI", "1.2.3").file(EXPLICIT_LITTLE);
    let files: Vec<Named> = (1..=4).map(|number| named(&format!("{number}.dcm"), same(number))).collect();
    assert_eq!(read(&files).expect("four places").dims[0], 4);
}

/// What no scan can use is left out by name, whatever is wrong with it.
#[test]
fn other_objects_are_left_out() {
    let other = |modality: &str| slice(9).text(0x0008_0060, "CS", modality).text(0x0020_000E, "UI", "1.2.9");
    let report = other("SR").without(0x7FE0_0010).without(0x0028_0010).file(EXPLICIT_LITTLE);
    assert_left_out(vec![named("dose.dcm", report)], &["1 files are no slices", "dose.dcm (is a DICOM SR object"]);
    let state = other("PR").without(0x7FE0_0010).file(EXPLICIT_LITTLE);
    assert_left_out(vec![named("state.dcm", state)], &["state.dcm (is a DICOM PR object"]);
    let screen = other("CT").without(0x0028_1052).without(0x0028_1053).file(EXPLICIT_LITTLE);
    assert_left_out(
        vec![named("screen.dcm", screen)],
        &["1 files cannot be read", "screen.dcm (is a CT without RescaleSlope"],
    );
    let empty = other("CT").without(0x7FE0_0010).file(EXPLICIT_LITTLE);
    assert_left_out(vec![named("empty.dcm", empty)], &["empty.dcm (is a DICOM image (CT) without pixel data"]);
    let packed = other("CT").file(HTJ2K);
    assert_left_out(vec![named("packed.dcm", packed)], &["packed.dcm (uses transfer syntax"]);
    let noise = dicom_builder::file_of(EXPLICIT_LITTLE, &[0xa5; 300]);
    assert_left_out(vec![named("noise.dcm", noise)], &["1 files cannot be read", "noise.dcm (has "]);
    assert_left_out(vec![named("text.dcm", b"not DICOM".to_vec())], &["text.dcm (is not DICOM"]);
    let cut = other("CT").file(EXPLICIT_LITTLE);
    assert_left_out(
        vec![named("cut.dcm", cut[..cut.len() - 9].to_vec())],
        &["cut.dcm (ends within element (7FE0,0010)"],
    );
}

/// A damaged slice fails its series, unless a sound copy of it is there; a series that is not asked for fails nothing.
#[test]
fn a_series_fails_by_its_own_files_alone() {
    let mut files = scan();
    let last = files[5].1.len() - 9;
    files[5].1.truncate(last);
    assert_refused(&files, "6.dcm", "ends within element (7FE0,0010)");
    let packed = slice(7).file(HTJ2K);
    assert_refused(&[scan(), vec![named("7.dcm", packed)]].concat(), "7.dcm", "uses transfer syntax");
    let sound = scan().remove(5);
    let whole = [files, vec![("scans/whole.dcm".to_owned(), sound.1)]].concat();
    let volume = read(&whole).expect("a sound copy of the damaged slice");
    assert_eq!(volume.voxels, read(&scan()).expect("sound").voxels);
    let note = "a damaged copy of whole.dcm was left out: 6.dcm (ends within";
    assert!(volume.info.notes.iter().any(|found| found.starts_with(note)), "{:?}", volume.info.notes);

    let second = |number: u16| slice(number).text(0x0020_000E, "UI", "1.2.9").text(0x0020_0011, "IS", 2);
    let mut two = scan();
    two.extend((1..=3).map(|number| named(&format!("second{number}.dcm"), second(number).file(EXPLICIT_LITTLE))));
    let broken = second(4).without(0x7FE0_0010).file(EXPLICIT_LITTLE);
    two.push(named("second4.dcm", broken));
    let of = |index| parse_dicom_files(&two, &VolumeOptions { index: Some(index), ..VolumeOptions::default() });
    let first = of(0).expect("the sound series");
    assert!(
        first.info.notes.iter().any(|note| note.contains("second4.dcm (is a DICOM image")),
        "{:?}",
        first.info.notes
    );
    assert!(of(1).expect_err("its own slice is broken").file.expect("named").ends_with("second4.dcm"));
}

/// A localizer is left out: in a series of its own or the scan's, marked as one or only of another size.
#[test]
fn localizers_are_left_out() {
    let turned = slice(9).text(0x0020_0037, "DS", "0\\1\\0\\0\\0\\-1").text(SOP_INSTANCE, "UI", "1.2.4");
    let marked = turned.clone().text(IMAGE_TYPE, "CS", "ORIGINAL\\PRIMARY\\LOCALIZER");
    let apart = |localizer: &Elements| localizer.clone().text(0x0020_000E, "UI", "1.2.9").text(0x0020_0011, "IS", 0);
    for localizer in [marked.clone(), marked.clone().sized(20, 30), turned.clone().sized(20, 30)] {
        let file = |localizer: &Elements| vec![named("scout.dcm", localizer.file(EXPLICIT_LITTLE))];
        assert_left_out(file(&localizer), &["pictures of another size or direction", "left out: scout.dcm"]);
        assert_left_out(file(&apart(&localizer)), &["scout.dcm left out", "no part of the scan", "--index 0 reads it"]);
    }
    let second = apart(&marked).text(0x0020_0032, "DS", "0\\0\\50").text(SOP_INSTANCE, "UI", "1.2.5");
    let both = [apart(&marked), second].map(|scout| named("scout.dcm", scout.file(EXPLICIT_LITTLE)));
    assert_left_out(both.to_vec(), &["scout.dcm left out"]);
    // A picture without a place in the body: a saved screen.
    let screen = apart(&slice(9)).without(0x0020_0032).without(0x0020_0037);
    assert_left_out(vec![named("screen.dcm", screen.file(EXPLICIT_LITTLE))], &["screen.dcm left out"]);
    // A turned slice of the same size may be one whose header is damaged.
    let turned = [scan(), vec![named("turned.dcm", turned.file(EXPLICIT_LITTLE))]].concat();
    assert_refused(&turned, "turned.dcm", "has orientation");
}

/// Where the scan itself cannot be read, what lay beside it is not taken for it.
#[test]
fn a_localizer_beside_a_damaged_scan_is_not_the_scan() {
    let packed = (1..=6).map(|number| named(&format!("{number}.dcm"), slice(number).file(HTJ2K)));
    let scout = slice(9).text(IMAGE_TYPE, "CS", "ORIGINAL\\PRIMARY\\LOCALIZER").text(0x0020_000E, "UI", "1.2.9");
    let thick = (1..=3).map(|number| slice(number).text(0x0020_000E, "UI", "1.2.9"));
    let packed: Vec<Named> = packed.collect();
    for others in [vec![scout], thick.collect()] {
        let others = others.iter().enumerate();
        let others = others.map(|(number, other)| named(&format!("other{number}.dcm"), other.file(EXPLICIT_LITTLE)));
        let files = [packed.clone(), others.collect()].concat();
        assert_refused(&files, "1.dcm", "uses transfer syntax");
        let chosen = VolumeOptions { index: Some(0), ..VolumeOptions::default() };
        let notes = parse_dicom_files(&files, &chosen).expect("what was asked for").info.notes;
        assert!(notes.iter().any(|note| note.starts_with("6 files cannot be read")), "{notes:?}");
    }
}

/// On disk as well: what is no DICOM at all is named too.
#[test]
fn a_folder_names_what_it_leaves_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, file) in scan() {
        std::fs::write(folder.path().join(name.trim_start_matches("scans/")), file).expect("written");
    }
    std::fs::write(folder.path().join("README.TXT"), "about").expect("written");
    let volume = read_volume(folder.path(), &VolumeOptions::default()).expect("a scan");
    let note = "1 files of the folder are no slices and were ignored: README.TXT";
    assert_eq!(volume.info.notes, [note]);
}
