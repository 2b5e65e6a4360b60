//! CT volumes: any supported file or folder to voxels in one order, checked, with what there is to know about them.
//!
//! Formats are told apart by content, never by name. Whatever the source, the volume that comes out has its slices
//! superior first, rows anterior first and columns patient-right first where the file says where those are, and its
//! voxels are finite and not all alike.

mod detect;
mod dicom;
mod images;
mod names;
mod nifti;
mod nifti_header;
mod npy;
mod orientation;
mod problem;
mod scalar;

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

pub use crate::preprocess::{PreparedVolume, prepare, write_npy};
pub use orientation::Orientation;
pub use problem::Problem;

use crate::error::Result;

/// Most voxels of one volume: 2048 slices of 512 by 512, 2 GiB as f32.
pub const VOXELS_MAX: u64 = 1 << 29;

/// Which end of the body the first slice shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum SliceOrder {
    /// The head's end first, as radiologists page.
    #[default]
    SuperiorFirst,
    /// The feet's end first; formats without orientation are reversed.
    InferiorFirst,
}

/// What the user may say about a volume.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VolumeOptions {
    /// Intensities below the first and above the second number are clipped to them, before scaling to 0..1.
    pub window: Option<[f32; 2]>,
    /// Order of the slices.
    pub slice_order: SliceOrder,
    /// Which volume, where the input holds several; counted from 0.
    pub index: Option<usize>,
    /// Accept a series whose slices are not evenly spaced.
    pub allow_gaps: bool,
}

impl VolumeOptions {
    /// Whether slices of unknown direction are to be reversed.
    pub(crate) fn reverses(&self) -> bool {
        self.slice_order == SliceOrder::InferiorFirst
    }
}

/// What the voxels mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum VolumeKind {
    /// Hounsfield units or another intensity, to be windowed and scaled to 0..1.
    Intensity,
    /// M3D's prepared .npy: within 0..1 and taken as it is.
    Prepared,
}

/// What there is to know about a volume that was read.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumeInfo {
    /// The file format, with its compression.
    pub format: String,
    /// The shape as the file has it, fastest axis first for NIfTI and DICOM, slowest first for npy.
    pub source_dims: Vec<usize>,
    /// Type of the stored voxels.
    pub dtype: String,
    /// Distance between slices, rows and columns.
    pub spacing_mm: Option<[f64; 3]>,
    /// How the stored axes were reordered; absent where the format does not say how the body lies.
    pub orientation: Option<Orientation>,
    /// Smallest and largest voxel, after rescaling.
    pub range: [f32; 2],
    /// Slope and intercept that turned stored values into intensities, where they are the same for all slices.
    pub rescale: Option<[f64; 2]>,
    /// DICOM's Modality.
    pub modality: Option<String>,
    /// DICOM's series description, or its number.
    pub series: Option<String>,
    /// Warnings: what was assumed, repaired or ignored.
    pub notes: Vec<String>,
}

/// A volume as read: slices, rows, columns.
#[derive(Debug, Clone, PartialEq)]
pub struct RawVolume {
    /// Slices by rows by columns, finite.
    pub voxels: Vec<f32>,
    /// Slices, rows, columns.
    pub dims: [usize; 3],
    /// What the voxels mean.
    pub kind: VolumeKind,
    /// What there is to know about them.
    pub info: VolumeInfo,
}

/// A volume in the making: voxels in their final order, not yet checked.
pub(crate) struct Parts {
    pub(crate) voxels: Vec<f32>,
    pub(crate) dims: [usize; 3],
    pub(crate) kind: VolumeKind,
    pub(crate) info: VolumeInfo,
}

impl Parts {
    /// Voxels with the least that is known about them.
    pub(crate) fn new(format: impl Into<String>, voxels: Vec<f32>, dims: [usize; 3]) -> Self {
        let info = VolumeInfo {
            format: format.into(),
            source_dims: Vec::new(),
            dtype: String::new(),
            spacing_mm: None,
            orientation: None,
            range: [0.0; 2],
            rescale: None,
            modality: None,
            series: None,
            notes: Vec::new(),
        };
        Self { voxels, dims, kind: VolumeKind::Intensity, info }
    }

    /// Repairs non-finite voxels and refuses a volume in which there is nothing to see.
    fn settle(mut self) -> Result<RawVolume, Problem> {
        let (bad, range) = finite_range(&self.voxels);
        let [low, high] = range;
        if low > high {
            return Err(Problem::new("holds no finite voxel", "give a volume with finite voxels"));
        }
        if low == high {
            let finding = format!("is constant: every voxel is {low}");
            return Err(Problem::new(finding, "give a volume that shows something"));
        }
        if bad > 0 {
            self.voxels.par_iter_mut().for_each(|voxel| {
                if !voxel.is_finite() {
                    *voxel = low;
                }
            });
            let note = format!("{bad} voxels were not finite and took the volume's minimum, {low}");
            self.info.notes.push(note);
        }
        if self.dims[0] == 1 {
            self.info.notes.push("the volume is a single slice; a series is read by giving its folder".to_owned());
        }
        self.info.range = range;
        Ok(RawVolume { voxels: self.voxels, dims: self.dims, kind: self.kind, info: self.info })
    }
}

/// How many voxels are not finite, and the smallest and largest of the others (infinities the wrong way, if none is).
pub(crate) fn finite_range(voxels: &[f32]) -> (usize, [f32; 2]) {
    const NONE: (usize, [f32; 2]) = (0, [f32::INFINITY, f32::NEG_INFINITY]);
    let join = |(bad, [low, high]): (usize, [f32; 2]), (more, [lower, higher]): (usize, [f32; 2])| {
        (bad + more, [low.min(lower), high.max(higher)])
    };
    let of_chunk = |chunk: &[f32]| {
        chunk.iter().fold(NONE, |(bad, [low, high]), &voxel| {
            if voxel.is_finite() { (bad, [low.min(voxel), high.max(voxel)]) } else { (bad + 1, [low, high]) }
        })
    };
    voxels.par_chunks(1 << 16).map(of_chunk).reduce(|| NONE, join)
}

/// Reads the volume at `path`: .npy, NIfTI, DICOM file or folder, or a folder of PNG or JPEG slices.
///
/// # Errors
/// One sentence that names the file, what was found and what to do, for anything that is not one sound volume.
pub fn read_volume(path: &Path, options: &VolumeOptions) -> Result<RawVolume> {
    detect::read_parts(path, options).and_then(Parts::settle).map_err(|problem| problem.at(path))
}

/// Reads the bytes of a NIfTI file, compressed or not.
///
/// # Errors
/// As [`read_volume`].
pub fn parse_nifti_bytes(bytes: &[u8], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    nifti::read_bytes(bytes, options)?.settle()
}

/// Reads the bytes of a .npy file.
///
/// # Errors
/// As [`read_volume`].
pub fn parse_npy_bytes(bytes: &[u8], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    npy::read(&mut &bytes[..], bytes.len() as u64, options)?.settle()
}

/// Reads the bytes of DICOM files, each with its name, as if they lay in one folder.
///
/// # Errors
/// As [`read_volume`].
pub fn parse_dicom_files(files: &[(String, Vec<u8>)], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    dicom::read(files, options)?.settle()
}

/// Which of `volumes` is meant; `what` says what holds them.
pub(crate) fn pick(volumes: u64, options: &VolumeOptions, what: impl Fn() -> String) -> Result<u64, Problem> {
    match options.index {
        _ if volumes == 0 => {
            Err(Problem::new(format!("holds no volume ({})", what()), "give a file that holds one volume"))
        }
        None if volumes == 1 => Ok(0),
        None => {
            let finding = format!("holds {volumes} volumes ({})", what());
            Err(Problem::new(finding, format!("choose one with --index 0 to {}", volumes - 1)))
        }
        Some(index) if (index as u64) < volumes => Ok(index as u64),
        Some(index) => {
            let finding = format!("holds {volumes} volume(s) ({}), but --index is {index}", what());
            Err(Problem::new(finding, format!("choose --index 0 to {}", volumes - 1)))
        }
    }
}
