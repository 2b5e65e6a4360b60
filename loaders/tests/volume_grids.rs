//! NRRD and MetaImage: what SimpleITK writes is read as its NIfTI file is, and what is broken is refused.

use std::path::Path;

use med2e3_loaders::volume::{RawVolume, VolumeOptions, read_volume};
use serde::Deserialize;

/// A file that SimpleITK wrote, and its voxels in reading order by nibabel; `tools/research/scans` made it.
#[derive(Deserialize)]
struct Case {
    name: String,
    file: String,
    header: String,
    beside: Option<String>,
    voxels: String,
    dims: [usize; 3],
    want: Vec<f32>,
    spacing: [f64; 3],
}

impl Case {
    fn voxels(&self) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&self.voxels[at..at + 2], 16).expect("hexadecimal");
        (0..self.voxels.len()).step_by(2).map(digit).collect()
    }
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("data/grids.json")).expect("the golden file is JSON")
}

fn read(path: &Path) -> Result<RawVolume, String> {
    read_volume(path, &VolumeOptions::default()).map_err(|error| error.to_string())
}

#[test]
fn every_orientation_type_and_packing_equals_nifti() {
    for case in cases() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(&case.file);
        match &case.beside {
            Some(beside) => {
                std::fs::write(&path, &case.header).expect("written");
                std::fs::write(folder.path().join(beside), case.voxels()).expect("written");
            }
            None => std::fs::write(&path, [case.header.as_bytes(), &case.voxels()].concat()).expect("written"),
        }
        let what = format!("{} of {}", case.file, case.name);
        let found = read(&path).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((found.dims, &found.voxels), (case.dims, &case.want), "{what}");
        let spacing = found.info.spacing_mm.expect("known");
        assert!(spacing.iter().zip(case.spacing).all(|(a, b)| (a - b).abs() < 1e-6), "{what}: {spacing:?}");
        let oblique = found.info.notes.iter().any(|note| note.contains("oblique by 17.2 degrees"));
        assert_eq!(found.info.notes.len(), usize::from(oblique), "{what}: {:?}", found.info.notes);
    }
}

/// A header of two slices of three rows and four columns, and its voxels beside it or behind it.
struct File {
    header: &'static str,
    voxels: Vec<u8>,
}

const NRRD: &str = "NRRD0004\n# a comment\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n\
    space directions: (1,0,0) (0,1,0) (0,0,1)\nendian: little\nencoding: raw\nmine:=anything: at all\n\n";
const META: &str = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n\
    TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 1\nDimSize = 4 3 2\nElementType = MET_SHORT\n\
    ElementDataFile = LOCAL\n";

fn voxels() -> Vec<u8> {
    (0..24i16).flat_map(i16::to_le_bytes).collect()
}

impl File {
    /// The file with `from` in its header replaced; read as `name`, beside a file `raw` with the voxels.
    fn edited(&self, from: &str, to: &str) -> Result<RawVolume, String> {
        assert!(self.header.contains(from), "{from}");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("inner")).expect("made");
        std::fs::write(folder.path().join("outside"), voxels()).expect("written");
        std::fs::write(folder.path().join("inner/raw"), voxels()).expect("written");
        std::os::unix::fs::symlink(folder.path().join("outside"), folder.path().join("inner/link")).expect("linked");
        let path = folder.path().join("inner/scan");
        std::fs::write(&path, [self.header.replace(from, to).as_bytes(), &self.voxels].concat()).expect("written");
        read(&path)
    }

    fn refused(&self, edits: &[(&str, &str, &str)]) {
        for (from, to, finding) in edits {
            let error = self.edited(from, to).expect_err(to);
            assert!(error.contains(finding) && error.contains("; ") && !error.contains('\n'), "{to}: {error}");
        }
    }
}

#[test]
fn what_an_nrrd_header_may_say() {
    let file = File { header: NRRD, voxels: voxels() };
    let plain = file.edited("short", "short").expect("a volume");
    assert_eq!((plain.voxels[0], plain.dims), (12.0, [2, 3, 4]));
    let same: [(&str, &str); 9] = [
        ("type: short", "TYPE: signed  short int"),
        ("dimension: 3", "dimension: 3\r"),
        ("left-posterior-superior", "LPS"),
        ("encoding: raw", "encoding: raw\nbyte skip: -1"),
        ("encoding: raw", "encoding: raw\nline skip: 0"),
        ("encoding: raw", "encoding: raw\ndata file: raw"),
        ("encoding: raw", "encoding: raw\ndatafile: ./raw"),
        ("3\nspace: left-posterior-superior\nsizes: 4 3 2", "4\nspace: LPST\nsizes: 4 3 2 1"),
        ("(1,0,0) (0,1,0) (0,0,1)", "(1, 0, 0)(0, 1, 0)(0, 0, 1)"),
    ];
    for (from, to) in same {
        let (from, to) = if to.contains("LPST") {
            // An axis without a direction, of one value.
            (
                "3\nspace: left-posterior-superior\nsizes: 4 3 2\nspace directions: ",
                "4\nspace: LPST\nsizes: 1 4 3 2\nspace directions: none ",
            )
        } else {
            (from, to)
        };
        let found = file.edited(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(found.voxels, plain.voxels, "{to}");
    }
    let turned = file.edited("left-posterior-superior", "right-anterior-superior").expect("a volume");
    assert_eq!(turned.voxels[0], 23.0, "right, anterior and superior come last");
    for (from, to) in [
        ("space: left-posterior-superior\n", ""),
        ("space directions: (1,0,0) (0,1,0) (0,0,1)\n", "spacings: 1 1 2\n"),
        ("left-posterior-superior", "scanner-xyz"),
    ] {
        let guessed = file.edited(from, to).expect("a volume");
        assert_eq!(guessed.voxels, plain.voxels);
        assert!(guessed.info.notes[0].contains("x was taken to run to the left"), "{:?}", guessed.info.notes);
    }
}

#[test]
fn what_an_nrrd_header_may_not_say() {
    File { header: NRRD, voxels: voxels() }.refused(&[
        ("NRRD0004", "NRRD0009", "begins with \"NRRD0009\""),
        ("short", "block", "\"type\""),
        ("short", "long double", "\"type\""),
        ("dimension: 3", "dimension: -3", "\"dimension\""),
        ("dimension: 3", "dimension: 4000000000", "\"dimension\""),
        ("4 3 2", "4 -3 2", "\"sizes\""),
        ("4 3 2", "4 0 2", "\"sizes\""),
        ("4 3 2", "4 3", "\"sizes\""),
        ("4 3 2", "4 3 99999999999999999999", "\"sizes\""),
        ("4 3 2", "4294967296 4294967296 2", "more than 536870912 voxels"),
        ("4 3 2", "4 3 3", "holds 48 bytes"),
        ("endian: little\n", "", "order its bytes"),
        ("little", "middle", "\"endian\""),
        ("raw", "bzip2", "encoding \"bzip2\""),
        ("raw", "gzip", "corrupt deflate stream"),
        ("raw", "raw\nbyte skip: -2", "\"byte skip\""),
        ("raw", "raw\nbyte skip: 9223372036854775807", "needs"),
        ("raw", "raw\nline skip: 1000000000", "are to be skipped"),
        ("raw", "raw\ndata file: ../outside", "outside of its own folder"),
        ("raw", "raw\ndata file: /etc/passwd", "outside of its own folder"),
        ("raw", "raw\ndata file: link", "outside of its own folder"),
        ("raw", "raw\ndata file: ", "outside of its own folder"),
        ("raw", "raw\ndata file: absent", "is not there"),
        ("raw", "raw\ndata file: .", "no regular file"),
        ("raw", "raw\ndata file: LIST", "several files"),
        ("raw", "raw\ndata file: slice%03d.raw 0 1 1", "several files"),
        ("(0,0,1)", "(0,0,nan)", "\"space directions\""),
        ("(0,0,1)", "(0,0)", "\"space directions\""),
        ("(0,0,1)", "", "\"space directions\""),
        ("(0,0,1)", "(0,1,0)", "singular"),
        ("(0,0,1)", "none", "2 axes of space"),
        ("type: short", "type: short\nType: float", "twice"),
        ("encoding: raw\n", "encoding raw\n", "wanted a name and a colon"),
        ("3\nspace: left", "4\nspace: left", "\"sizes\""),
        ("\n\n", "\n", "header"),
    ]);
    let vectors = "4\nspace: LPS\nsizes: 3 2 2 2\nspace directions: none ";
    let error = File { header: NRRD, voxels: voxels() }
        .edited("3\nspace: left-posterior-superior\nsizes: 4 3 2\nspace directions: ", vectors)
        .expect_err("colours");
    assert!(error.contains("holds 3 values for each voxel"), "{error}");
}

#[test]
fn what_a_metaimage_header_may_say() {
    let file = File { header: META, voxels: voxels() };
    let plain = file.edited("True", "True").expect("a volume");
    assert_eq!((plain.voxels[0], plain.dims), (12.0, [2, 3, 4]));
    for (from, to) in [
        ("LOCAL", "raw"),
        ("LOCAL", "local"),
        ("NDims", "Comment = one\nComment = two\nNDims"),
        ("ElementDataFile = LOCAL", "HeaderSize = -1\nElementDataFile = raw"),
        ("TransformMatrix", "Rotation"),
        ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
        ("ElementSpacing", "ElementSize"),
        ("ElementSpacing", "CompressedDataSize = 7\nElementSpacing"),
    ] {
        let found = file.edited(from, to).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(found.voxels, plain.voxels, "{to}");
    }
    let big = file.edited("MSB = False", "MSB = True").expect("big-endian");
    assert_eq!((big.voxels[0], big.info.format.as_str()), (f32::from(12i16.swap_bytes()), "MetaImage, big-endian"));
    let guessed = file.edited("TransformMatrix = 1 0 0 0 1 0 0 0 1\n", "").expect("a volume");
    assert!(guessed.voxels == plain.voxels && guessed.info.notes[0].contains("no TransformMatrix"));
}

#[test]
fn what_a_metaimage_header_may_not_say() {
    File { header: META, voxels: voxels() }.refused(&[
        ("= Image", "= Tube", "not an image"),
        ("BinaryData = True", "BinaryData = False", "as text"),
        ("BinaryData = True", "BinaryData = Perhaps", "BinaryData"),
        ("NDims = 3", "NDims = -1", "NDims"),
        ("NDims = 3", "NDims = 99999999999999999999", "NDims"),
        ("NDims = 3", "NDims = 2", "DimSize"),
        ("4 3 2", "4 3 -2", "DimSize"),
        ("4 3 2", "4 3 2 1", "DimSize"),
        ("4 3 2", "4294967296 4294967296 2", "more than 536870912 voxels"),
        ("4 3 2", "4 3 3", "holds 48 bytes"),
        ("MET_SHORT", "MET_OTHER", "ElementType"),
        ("MET_SHORT", "MET_SHORT\nElementNumberOfChannels = 3", "3 values for each voxel"),
        ("MET_SHORT", "MET_SHORT\nElementToIntensityFunctionSlope = 2", "which some readers apply"),
        ("MET_SHORT", "MET_SHORT\nCompressedData = True", "corrupt deflate stream"),
        ("MET_SHORT", "MET_SHORT\nHeaderSize = -3", "HeaderSize"),
        ("LOCAL", "LIST", "several files"),
        ("LOCAL", "LIST 2", "several files"),
        ("LOCAL", "s%02d.raw 0 1 1", "several files"),
        ("LOCAL", "../outside", "outside of its own folder"),
        ("LOCAL", "/dev/zero", "outside of its own folder"),
        ("LOCAL", "link", "outside of its own folder"),
        ("LOCAL", "absent", "is not there"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0", "TransformMatrix"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 0 inf", "TransformMatrix"),
        ("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0 0 1 0", "singular"),
        ("ElementDataFile = LOCAL\n", "ElementDataFil", "wanted a name and"),
        ("ElementDataFile = LOCAL\n", "", "header"),
        ("NDims = 3", "NDims = 3\nNDims = 4", "twice"),
    ]);
}
