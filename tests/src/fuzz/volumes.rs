//! Readers of volumes, and what every volume that was read must hold.
use super::{Seed, case_folder, dicom, grids, images, seeds, write};
use med2e3::{Cpu, Precision, prepare};
use med2e3_loaders::volume::{
    Problem, RawVolume, VolumeKind, VolumeOptions, parse_nifti_bytes, parse_npy_bytes, read_volume,
};
use std::path::Path;

const CPU: Cpu = Cpu { precision: Precision::Exact };

/// What a volume is prepared to: fewer and more voxels than seeds have along an axis.
const SIZE: [usize; 3] = [4, 6, 3];
/// A blend of two voxels of 1 with weights that are rounded may exceed it by this.
const ROUNDING: f32 = 1e-6;

pub(super) fn read_nifti(bytes: &[u8]) -> Result<(), String> {
    outcome(parse_nifti_bytes(bytes, &VolumeOptions::default()), "scan.nii")
}

pub(super) fn read_npy(bytes: &[u8]) -> Result<(), String> {
    outcome(parse_npy_bytes(bytes, &VolumeOptions::default()), "scan.npy")
}

/// The sentence about a file that was refused; a volume is checked.
pub(super) fn outcome(found: Result<RawVolume, Problem>, name: &str) -> Result<(), String> {
    settle(found.map_err(|problem| problem.at(Path::new(name))))
}

pub(super) fn settle(found: med2e3_loaders::Result<RawVolume>) -> Result<(), String> {
    found.map_err(|error| error.to_string()).and_then(|raw| check(&raw))
}

/// A volume holds what its dims promise, finite; prepared, it fits the model or is refused with a sentence.
fn check(raw: &RawVolume) -> Result<(), String> {
    let RawVolume { voxels, dims, kind, info } = raw;
    assert_eq!(voxels.len(), dims.iter().product::<usize>(), "{dims:?}");
    assert!(voxels.iter().all(|voxel| voxel.is_finite()), "not finite");
    let low = voxels.iter().copied().fold(f32::INFINITY, f32::min);
    let high = voxels.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    assert!(info.range == [low, high] && low < high, "{:?} of {low}..{high}", info.range);
    assert!(*kind == VolumeKind::Intensity || (0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high));
    let mut stored = info.source_dims.clone();
    for dim in dims.iter().filter(|&&dim| dim > 1) {
        let place = stored.iter().position(|source| source == dim);
        stored.remove(place.unwrap_or_else(|| panic!("{dims:?} of a file of {:?}", info.source_dims)));
    }
    if let Some(spacing) = info.spacing_mm {
        assert!(spacing.iter().all(|step| step.is_finite() && *step > 0.0), "{spacing:?} mm");
    }
    if let Some(rescale) = info.rescale {
        assert!(rescale.iter().all(|number| number.is_finite()), "{rescale:?}");
    }
    if let Some(orientation) = &info.orientation {
        let mut axes = orientation.from_axis;
        axes.sort_unstable();
        assert!(axes == [0, 1, 2] && orientation.oblique_degrees.is_finite(), "{orientation:?}");
    }
    check_prepared(raw)
}

fn check_prepared(raw: &RawVolume) -> Result<(), String> {
    let prepared = prepare(&CPU, raw, SIZE, &VolumeOptions::default()).map_err(|error| error.to_string())?;
    assert_eq!((prepared.dims, prepared.voxels.len()), (SIZE, SIZE.iter().product()));
    let odd = prepared.voxels.iter().find(|voxel| !(0.0..=1.0 + ROUNDING).contains(*voxel));
    assert!(odd.is_none(), "{odd:?} is outside 0..1");
    assert_eq!(prepared.source_slices.len(), SIZE[0]);
    let slices = prepared.source_slices.iter();
    assert!(slices.clone().all(|[first, last]| first <= last && *last < raw.dims[0]), "{slices:?}");
    for (axis, [start, end]) in prepared.crop.iter().enumerate() {
        assert!(start < end && *end <= raw.dims[axis], "{:?} of {:?}", prepared.crop, raw.dims);
    }
    Ok(())
}

/// Bytes of a NIfTI-1 header with its mark for no extensions.
const HEADER_BYTES: usize = 352;

/// A header that has its voxels in another file, and these voxels.
pub(super) fn pair_seeds() -> Vec<Seed> {
    let mut pair = seeds::nifti_1();
    seeds::put(&mut pair, 344, b"ni1\0");
    seeds::put(&mut pair, 108, 0f32.to_le_bytes());
    let packed = |bytes: Vec<u8>| {
        let (header, voxels) = bytes.split_at(bytes.len().min(HEADER_BYTES));
        [header, &seeds::gzip(voxels.to_vec())].concat()
    };
    vec![Seed::whole(pair.clone()), Seed::part(pair, packed)]
}

/// The first bytes are the header, the others the voxels; either file may be named.
pub(super) fn read_pair(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    let (header, voxels) = bytes.split_at(bytes.len().min(HEADER_BYTES));
    let packed = if voxels.starts_with(b"\x1f\x8b") { ".gz" } else { "" };
    let [header_path, voxels_path] =
        [".hdr".to_owned(), format!(".img{packed}")].map(|extension| folder.path().join(format!("scan{extension}")));
    write(header_path.clone(), header);
    write(voxels_path.clone(), voxels);
    let by_header = settle(read_volume(&header_path, &VolumeOptions::default()));
    let by_voxels = settle(read_volume(&voxels_path, &VolumeOptions::default()));
    by_header.or(by_voxels)
}

/// One of every format.
pub(super) fn detect_seeds() -> Vec<Seed> {
    let all = [seeds::npy(), seeds::nifti(), grids::whole_seeds(), dicom::seeds()].concat();
    all.into_iter().map(|seed| Seed::whole(seed.file())).chain(images::lone_slices()).collect()
}

/// The bytes are a file whose name says nothing, given alone and as the only slice of a folder.
pub(super) fn read_any(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    let path = folder.path().join("7");
    write(path.clone(), bytes);
    let alone = settle(read_volume(&path, &VolumeOptions::default()));
    let within = settle(read_volume(folder.path(), &VolumeOptions::default()));
    alone.or(within)
}
