//! Cut and bent files: every truncation is refused, and no flipped bit makes a reader panic or lie about its shape.

#[path = "volume_support/dicom_file.rs"]
mod dicom_file;
#[path = "volume_support/nifti_file.rs"]
mod nifti_file;
mod volume_support;

use std::io::Write;

use dicom_file::DicomSlice;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use med2e3_loaders::volume::{
    Problem, RawVolume, VolumeOptions, parse_dicom_files, parse_nifti_bytes, parse_npy_bytes, read_bytes,
};
use nifti_file::nifti;
use volume_support::golden;

/// A volume that is not refused is whole: its voxels are finite and as many as its shape says.
fn assert_whole(what: &str, read: Result<RawVolume, Problem>) {
    if let Ok(volume) = read {
        assert_eq!(volume.voxels.len(), volume.dims.iter().product::<usize>(), "{what}");
        assert!(volume.voxels.iter().all(|voxel| voxel.is_finite()), "{what}");
    }
}

/// Reads every truncation, which must fail, and every one-bit change, which must not panic.
fn cut_and_flip(what: &str, bytes: &[u8], read: impl Fn(&[u8]) -> Result<RawVolume, Problem>) {
    read(bytes).unwrap_or_else(|problem| panic!("{what}: {problem:?}"));
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "{what}: cut to {end} of {} bytes", bytes.len());
    }
    let mut bent = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        bent[bit / 8] ^= 1 << (bit % 8);
        assert_whole(&format!("{what}: bit {bit}"), read(&bent));
        bent[bit / 8] ^= 1 << (bit % 8);
    }
}

fn npy() -> Vec<u8> {
    let dict = "{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3, 4), }\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((dict.len() as u16).to_le_bytes());
    bytes.extend(dict.bytes());
    bytes.extend((0..24i16).flat_map(|voxel| voxel.to_le_bytes()));
    bytes
}

#[test]
fn damaged_npy_is_refused() {
    cut_and_flip("npy", &npy(), |bytes| parse_npy_bytes(bytes, &VolumeOptions::default()));
}

#[test]
fn damaged_nifti_is_refused() {
    let read = |bytes: &[u8]| parse_nifti_bytes(bytes, &VolumeOptions::default());
    for version in [1, 2] {
        let bytes = nifti(version);
        cut_and_flip(&format!("NIfTI-{version}"), &bytes, read);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&bytes).expect("packed");
        cut_and_flip(&format!("NIfTI-{version} gzip"), &gzip.finish().expect("packed"), read);
    }
}

/// Text headers, with the voxels plain and packed behind them.
#[test]
fn damaged_nrrd_and_metaimage_are_refused() {
    let read = |bytes: &[u8]| {
        read_bytes("scan", bytes, &VolumeOptions::default()).map_err(|error| Problem::new(error.to_string(), ""))
    };
    let voxels: Vec<u8> = (0..24i16).flat_map(i16::to_le_bytes).collect();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&voxels).expect("packed");
    let gzip = gzip.finish().expect("packed");
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&voxels).expect("packed");
    let zlib = zlib.finish().expect("packed");
    for (encoding, voxels) in [("raw", &voxels), ("gzip", &gzip)] {
        let header = format!(
            "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 4 3 2\n\
             space directions: (1,0,0) (0,1,0) (0,0,2)\nendian: little\nencoding: {encoding}\n\n"
        );
        cut_and_flip(&format!("NRRD {encoding}"), &[header.as_bytes(), voxels].concat(), read);
    }
    for (packed, voxels) in [("False", &voxels), ("True", &zlib)] {
        let header = format!(
            "ObjectType = Image\nNDims = 3\nCompressedData = {packed}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n\
             ElementSpacing = 1 1 2\nDimSize = 4 3 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
        );
        cut_and_flip(&format!("MetaImage, packed {packed}"), &[header.as_bytes(), voxels].concat(), read);
    }
}

#[test]
fn damaged_dicom_is_refused() {
    let file = DicomSlice::axial(1).file();
    let read = |bytes: &[u8]| parse_dicom_files(&[("a.dcm".to_owned(), bytes.to_vec())], &VolumeOptions::default());
    cut_and_flip("DICOM", &file.1, read);
    // In a folder, damage to one file must not pass either: cut, it is broken or no DICOM, which leaves a gap.
    let mut files: Vec<_> = (1..=5).map(|instance| DicomSlice::axial(instance).file()).collect();
    for end in 0..file.1.len() {
        files[2].1 = DicomSlice::axial(3).file().1[..end].to_vec();
        assert!(parse_dicom_files(&files, &VolumeOptions::default()).is_err(), "cut to {end}");
    }
}

/// Sizes that no file holds are refused before they are allocated: each of these promises terabytes in few bytes.
#[test]
fn promises_are_not_allocated() {
    let mut huge = nifti(1);
    (1..=3).for_each(|axis| huge[40 + 2 * axis..][..2].copy_from_slice(&0x7fffi16.to_le_bytes()));
    let options = VolumeOptions::default();
    assert!(parse_nifti_bytes(&huge, &options).expect_err("huge").finding.contains("more than 536870912 voxels"));
    let mut large = nifti(1);
    (1..=3).for_each(|axis| large[40 + 2 * axis..][..2].copy_from_slice(&700i16.to_le_bytes()));
    assert!(parse_nifti_bytes(&large, &options).expect_err("large").finding.contains("needs 686000352 bytes"));
    let text = String::from_utf8_lossy(&npy()).into_owned();
    assert!(text.contains("(2, 3, 4)"));
    let huge_npy = |shape: &str| {
        let mut bytes = npy();
        let at = bytes.windows(9).position(|window| window == b"(2, 3, 4)").expect("the shape");
        bytes.splice(at..at + 9, shape.bytes());
        let length = (bytes[8] as usize + shape.len() - 9) as u8;
        bytes[8] = length;
        parse_npy_bytes(&bytes, &options).expect_err("huge").finding
    };
    assert!(huge_npy("(18446744073709551615, 2, 4)").contains("more than 536870912 voxels"));
    assert!(huge_npy("(500, 512, 512)").contains("needs"));
    // A gzip stream of 1 MiB of zeros promises more than deflate can pack into its bytes.
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(&large[..352]).and_then(|()| gzip.write_all(&vec![0; 1 << 20])).expect("packed");
    let error = parse_nifti_bytes(&gzip.finish().expect("packed"), &options).expect_err("a lie");
    assert!(error.finding.contains("can hold at most"), "{error:?}");
}

/// A file of nested sequences does not exhaust the stack, and a deflated one does not exhaust the memory.
#[test]
fn nesting_and_bombs_are_bounded() {
    let (name, bytes) = DicomSlice::axial(1).file();
    let after_meta = bytes.windows(4).position(|window| window == [0x08, 0, 0x60, 0]).expect("the data set");
    let mut nested = bytes[..after_meta].to_vec();
    for _ in 0..100_000 {
        nested.extend([0x08, 0, 0x40, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff]);
        nested.extend([0xfe, 0xff, 0x00, 0xe0, 0xff, 0xff, 0xff, 0xff]);
    }
    let options = VolumeOptions::default();
    let error = parse_dicom_files(&[(name.clone(), nested)], &options).expect_err("nested");
    assert!(error.finding.contains("more than 32 deep"), "{error:?}");

    let mut bomb = DeflateEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..520 {
        bomb.write_all(&vec![0; 1 << 20]).expect("packed");
    }
    let mut deflated = vec![0; 128];
    deflated.extend(b"DICM\x02\x00\x10\x00UI\x16\x00");
    deflated.extend(b"1.2.840.10008.1.2.1.99");
    deflated.extend(bomb.finish().expect("packed"));
    let error = parse_dicom_files(&[(name, deflated)], &options).expect_err("a bomb");
    assert!(error.finding.contains("unpacks to more than"), "{error:?}");
}

/// SplitMix64: numbers that are the same in every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Real compressed files, bent at random places: the decoders' own code must hold as well.
#[test]
fn damaged_streams_are_refused() {
    let Some((folder, _)) = golden("dicom/golden_dicom.json") else { return };
    let names = [
        "single/MR_small_jpeg_ls_lossless.dcm",
        "single/693_J2KI.dcm",
        "single/JPGExtended.dcm",
        "multiframe/emri_small_RLE.dcm",
        "multiframe/emri_small_jpeg_ls_lossless.dcm",
        "multiframe/emri_small_jpeg_2k_lossless.dcm",
        "mr_d2n_compressed_jpeg_lossless/IM-0001-0001-0001.dcm",
    ];
    for (seed, name) in names.into_iter().enumerate() {
        let bytes = std::fs::read(folder.join("dicom").join(name)).expect("the file");
        let mut state = seed as u64;
        let mut pick = |below: usize| (random(&mut state) % below as u64) as usize;
        for round in 0..60 {
            let mut bent = bytes.clone();
            for _ in 0..=pick(4) {
                let place = pick(bent.len());
                bent[place] ^= 1 << pick(8);
            }
            if round % 4 == 0 {
                bent.truncate(pick(bytes.len()));
            }
            let read = parse_dicom_files(&[(name.to_owned(), bent)], &VolumeOptions::default());
            assert_whole(&format!("{name}, seed {seed}, round {round}"), read);
        }
    }
}

/// The file with its one fragment cut to `keep` bytes, its length put right.
fn with_fragment_cut(file: &[u8], keep: impl Fn(usize) -> usize) -> Vec<u8> {
    let find = |from: usize, what: &[u8]| {
        from + file[from..].windows(what.len()).position(|window| window == what).expect("the mark")
    };
    let pixels = find(0, b"\xe0\x7f\x10\x00O") + 12;
    let table_bytes = u32::from_le_bytes(file[pixels + 4..pixels + 8].try_into().expect("a length")) as usize;
    let fragment = pixels + 8 + table_bytes;
    let fragment_bytes = u32::from_le_bytes(file[fragment + 4..fragment + 8].try_into().expect("a length")) as usize;
    let start = fragment + 8;
    assert_eq!(file[start + fragment_bytes..][..4], *b"\xfe\xff\xdd\xe0", "there is one fragment");
    let kept = keep(fragment_bytes) & !1;
    let mut cut = file[..start].to_vec();
    cut[fragment + 4..fragment + 8].copy_from_slice(&(kept as u32).to_le_bytes());
    cut.extend(&file[start..start + kept]);
    cut.extend(&file[start + fragment_bytes..]);
    cut
}

/// A stream that was cut before it was packed into a sound file is noticed: decoders fill in what is missing.
#[test]
fn streams_cut_inside_a_sound_file_are_refused() {
    let Some((folder, _)) = golden("dicom/golden_dicom.json") else { return };
    let names = [
        "single/MR_small_jpeg_ls_lossless.dcm",
        "single/693_J2KI.dcm",
        "single/J2K_pixelrep_mismatch.dcm",
        "single/JPGExtended.dcm",
        "transcoded_lidc0314_one_slice/04_rle.dcm",
        "transcoded_lidc0314_one_slice/05_jpeg_lossless_p14.dcm",
        "transcoded_lidc0314_one_slice/07_jpegls_lossless.dcm",
        "transcoded_lidc0314_one_slice/09_jpeg2000_lossless.dcm",
    ];
    for name in names {
        let bytes = std::fs::read(folder.join("dicom").join(name)).expect("the file");
        let read = |keep: &dyn Fn(usize) -> usize| {
            let file = (name.to_owned(), with_fragment_cut(&bytes, keep));
            parse_dicom_files(&[file], &VolumeOptions::default())
        };
        assert!(read(&|bytes| bytes).is_ok(), "{name}");
        assert!(read(&|bytes| bytes / 2).is_err(), "{name} cut to a half");
        assert!(read(&|bytes| bytes - bytes / 10).is_err(), "{name} cut to nine tenths");
        assert!(read(&|bytes| bytes - 6).is_err(), "{name} cut by 6 bytes");
        assert!(read(&|_| 0).is_err(), "{name} without a byte");
    }
}
