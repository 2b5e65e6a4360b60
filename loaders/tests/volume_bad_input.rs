//! Every broken file of the data folder is refused in one sentence.

mod volume_support;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use med2e3_loaders::error::{Error, Result};
use med2e3_loaders::volume::{RawVolume, VolumeOptions, read_volume};
use volume_support::golden;

/// The bound for refusing a bad file; they take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads `path` and checks the form of the error: one line that names the file, with a remedy.
fn read(path: &Path) -> Result<RawVolume> {
    let start = Instant::now();
    let read = read_volume(path, &VolumeOptions::default());
    assert!(start.elapsed() < PATIENCE, "{}: {:?}", path.display(), start.elapsed());
    if let Err(error) = &read {
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("; ") && !text.contains('\n') && !text.ends_with('.'), "{text}");
    }
    read
}

/// What the operating system refuses is told from broken content by the error's type, with the system's own reason.
#[test]
fn what_is_not_there_is_no_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("volume.npy");
    std::fs::write(&file, b"\x93NUMPY").expect("a broken volume");
    for (path, kind) in [
        (folder.path().join("absent.nii"), ErrorKind::NotFound),
        (folder.path().join("absent/folder"), ErrorKind::NotFound),
        (file.join("inside.nii"), ErrorKind::NotADirectory),
    ] {
        let error = read(&path).expect_err("absent");
        let Error::Io { path: found, doing, source } = &error else { panic!("{error:?}") };
        assert_eq!((found, *doing, source.kind()), (&path, "open", kind));
        let inner = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<std::io::Error>());
        assert_eq!(inner.map(std::io::Error::kind), Some(kind));
    }
    let broken = read(&file).expect_err("it ends in its header");
    assert!(matches!(broken, Error::BadInput { .. }), "{broken:?}");
}

/// Checks each file of `folder` against its expectation, all of them, and no other but those that are `sound`.
fn assert_refused(folder: PathBuf, want: &[(&str, &str)], sound: &[&str]) {
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut known: Vec<&str> = want.iter().map(|(name, _)| *name).chain(sound.iter().copied()).collect();
    known.sort_unstable();
    assert_eq!(names, known);
    for (name, finding) in want {
        let error = read(&folder.join(name)).expect_err(name).to_string();
        assert!(error.contains(finding), "{error}\nwanted: {finding}");
    }
}

/// nibabel reads two of these: one with a NaN for a voxel size and one with a singular sform. Where the header
/// contradicts itself, so may the picture, so we refuse both.
#[test]
fn broken_nifti_is_refused() {
    let Some((folder, nibabel)) = golden("nifti/nibabel_on_broken.json") else { return };
    let folder = folder.join("nifti/broken");
    let want = [
        ("bad_datatype_code.nii", "datatype code 9999"),
        ("bad_magic.nii", "NIfTI magic \"xyz"),
        ("bitflip_gz_crc.nii.gz", "checksum"),
        ("dim0_is_9.nii", "9 axes"),
        ("dim_negative.nii", "length -32"),
        ("empty.nii", "empty"),
        ("gzip_named_nii.nii", "does not end in .gz"),
        ("pixdim_nan.nii", "voxel size (pixdim) of NaN"),
        ("singular_sform.nii", "singular or non-finite sform"),
        ("text_file.nii.gz", "no known volume format"),
        ("truncated_gz.nii.gz", "fewer voxels than its header says"),
        ("truncated_in_header.nii.gz", "cannot be read to its end"),
        ("vox_offset_negative.nii", "byte -400"),
    ];
    assert_refused(folder, &want, &[]);
    for (name, _) in want {
        let refused = nibabel[name].as_str().expect("known to nibabel").starts_with("ERR");
        assert!(refused || ["pixdim_nan.nii", "singular_sform.nii"].contains(&name), "{name}");
    }
}

/// pydicom reads the pixels of some of these; what their headers say about them cannot be trusted.
#[test]
fn broken_dicom_is_refused() {
    let Some((folder, _)) = golden("dicom/golden_dicom.json") else { return };
    let folder = folder.join("dicom/broken");
    let want = [
        ("ExplVR_BigEndNoMeta.dcm", "without its file header"),
        ("GDCMJ2K_TextGBR.dcm", "3 sample(s) per pixel"),
        ("MR_truncated.dcm", "needs 8192 bytes where 8130 are left"),
        ("empty_charset_LEI.dcm", "without an image"),
        ("lidc64_iop_not_orthonormal.dcm", "right angles"),
        ("lidc64_no_pixeldata.dcm", "without pixel data"),
        ("lidc64_no_rescale.dcm", "not Hounsfield units"),
        ("lidc64_rows_65535.dcm", "more than 536870912 voxels"),
        ("lidc64_rows_zero.dcm", "0 rows and 64 columns"),
        ("lidc_truncated_header.dcm", "ends within element (0008,0070)"),
        ("lidc_truncated_preamble.dcm", "no known volume format"),
        ("no_meta.dcm", "no known volume format"),
        ("rtplan_truncated.dcm", "ends within element (300A,00B0)"),
        ("ts_j2k_truncated_codestream.dcm", "needs 153358 bytes where 74257 are left"),
    ];
    // Its UIDs are no UIDs, which harms nobody; pydicom reads it too.
    assert_refused(folder, &want, &["bad_sequence.dcm"]);
}

/// A series that is not one stack names the slice that is odd, and gaps can be accepted.
#[test]
fn bad_series_are_refused() {
    let Some((folder, _)) = golden("dicom/golden_dicom.json") else { return };
    let folder = folder.join("dicom/ct_series_bad");
    let want = [
        ("duplicate_slice", "000081.dcm: is at the same place as"),
        ("missing_slice", "9.000 mm apart, but 18.000 mm between"),
        ("mixed_orientation", "000155.dcm: has orientation [0, 1, 0, 0, 0, -1]"),
        ("one_truncated", "000064.dcm: ends within element (7FE0,0010)"),
    ];
    assert_refused(folder.clone(), &want, &[]);
    let allow_gaps = VolumeOptions { allow_gaps: true, ..VolumeOptions::default() };
    let volume = read_volume(&folder.join("missing_slice"), &allow_gaps).expect("the gap is accepted");
    assert_eq!(volume.dims, [11, 64, 64]);
    assert!(volume.info.notes.iter().any(|note| note.contains("18.000 mm between")), "{:?}", volume.info.notes);
}

/// Valid files with nothing to see, or with more to see than one volume.
#[test]
fn odd_but_valid_files_say_what_to_do() {
    let Some((folder, _)) = golden("dicom/golden_dicom.json") else { return };
    let derived = folder.join("nifti/derived");
    let constant = read(&derived.join("constant_air.nii.gz")).expect_err("constant").to_string();
    assert!(constant.contains("is constant: every voxel is -1024"), "{constant}");
    let several = read(&derived.join("ctsm_4d_2vol.nii.gz")).expect_err("two volumes").to_string();
    assert!(several.contains("holds 2 volumes") && several.contains("--index 0 to 1"), "{several}");
    let volume = |index| {
        let options = VolumeOptions { index: Some(index), ..VolumeOptions::default() };
        read_volume(&derived.join("ctsm_4d_2vol.nii.gz"), &options)
    };
    let plain = read(&derived.join("ctsm_int16.nii")).expect("a volume");
    assert_eq!(volume(0).expect("the first").voxels, plain.voxels);
    assert_ne!(volume(1).expect("the second").voxels, plain.voxels);
    assert!(volume(2).expect_err("no third").to_string().contains("--index is 2"));

    let image = folder.join("m3d/ct_case/000001/Axial_lung_window/0.png");
    assert!(read(&image).expect_err("one image").to_string().contains("give the folder"));
    assert!(read(&folder.join("m3d/ct_case")).expect_err("deeper").to_string().contains("give that folder"));
    assert!(read(&folder.join("configs")).expect_err("no volume").to_string().contains("without a scan"));
    let absent = read(&folder.join("absent.nii")).expect_err("absent");
    assert!(absent.to_string().contains("absent.nii: cannot open: "), "{absent}");
}
