//! CT volumes: any supported file or folder to voxels in one order, checked, with what there is to know about them.
//!
//! Formats are told apart by content; a name only decides whether a NIfTI file may be compressed. Whatever the source,
//! the volume that comes out has its slices superior first, rows anterior first and columns patient-right first where
//! the file says where those are, and its voxels are finite and not all alike.

mod archive;
mod detect;
#[cfg(feature = "dicom")]
mod dicom;
mod files;
mod fill;
mod framing;
mod grid;
mod header_text;
mod identity;
#[cfg(feature = "images")]
mod images;
#[cfg(not(all(feature = "dicom", feature = "images")))]
mod left_out;
mod metaimage;
mod names;
mod nifti;
mod nifti_header;
mod npy;
mod npy_writer;
mod nrrd;
mod orientation;
mod packed;
mod problem;
mod scalar;
mod several;
mod window;

use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

pub use framing::{Framed, frame};
pub use identity::{Identity, SourceSlice};
pub use npy_writer::write_npy;
pub use orientation::Orientation;
pub use problem::Problem;
pub(crate) use window::decide;
pub use window::{AppliedWindow, Preset, Window, WindowChoice, WindowDecision, WindowSource};

use crate::error::{Error, Result};
use crate::memory;
use files::InMemory;
use grid::Affine;
#[cfg(not(feature = "dicom"))]
use left_out::dicom;
#[cfg(not(feature = "images"))]
use left_out::images;

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
    /// Which intensities are scaled to 0..1; those outside are clipped first.
    pub window: WindowChoice,
    /// The window that the model was trained with, [`ModelFolder::window`](crate::ModelFolder::window); what
    /// [`WindowChoice::Auto`] takes first.
    pub model_window: Option<Window>,
    /// Order of the slices.
    pub slice_order: SliceOrder,
    /// Which series of a DICOM input: its SeriesInstanceUID or its SeriesNumber.
    pub series: Option<String>,
    /// Which volume, where the input holds several; counted from 0, with `series` among those of that series.
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

/// What the numbers of a volume are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Unit {
    /// Hounsfield units: a CT in DICOM; a NIfTI file, which does not say what it holds, is taken for one.
    Hounsfield,
    /// Grey values as they were displayed.
    Grey,
    /// Not known.
    #[default]
    Unknown,
}

/// What there is to know about a volume that was read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// What the voxels are.
    pub unit: Unit,
    /// The scan's own window, DICOM's WindowCenter and WindowWidth: the first of each, those of most slices.
    pub window: Option<Window>,
    /// DICOM's Modality.
    pub modality: Option<String>,
    /// DICOM's series description, or its number.
    pub series: Option<String>,
    /// What the scan is known by.
    pub identity: Identity,
    /// Where each slice comes from, in reading order; empty where nothing is known about any.
    pub slices: Vec<SourceSlice>,
    /// Warnings: what was assumed, repaired or ignored.
    pub notes: Vec<String>,
}

impl VolumeInfo {
    /// Puts hashes in the place of all UIDs, the first 32 hexadecimal digits of the SHA-256 of each. Equal UIDs stay
    /// equal, so that results can be joined; who knows a UID can find its hash.
    pub fn hash_uids(&mut self) {
        self.identity.hash_uids();
        self.slices.iter_mut().for_each(SourceSlice::hash_uids);
    }
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
        let info = VolumeInfo { format: format.into(), ..VolumeInfo::default() };
        Self { voxels, dims, kind: VolumeKind::Intensity, info }
    }

    /// Repairs non-finite voxels and refuses a volume in which there is nothing to see.
    fn settle(mut self) -> Result<RawVolume, Problem> {
        let found = Found::of(&self.voxels)?;
        self.info.notes.extend(found.repair(&mut self.voxels));
        if self.dims[0] == 1 {
            self.info.notes.push("the volume is a single slice; a series is read by giving its folder".to_owned());
        }
        self.info.range = found.range;
        Ok(RawVolume { voxels: self.voxels, dims: self.dims, kind: self.kind, info: self.info })
    }
}

/// What voxels are, before anything is done about it.
pub(crate) struct Found {
    /// How many are not finite.
    pub(crate) bad: usize,
    /// The smallest and the largest of the others.
    pub(crate) range: [f32; 2],
}

impl Found {
    /// Looks at `voxels`; in those that are constant or not finite there is nothing to see.
    fn of(voxels: &[f32]) -> Result<Self, Problem> {
        let (bad, range) = finite_range(voxels);
        let [low, high] = range;
        if low > high {
            return Err(Problem::new("holds no finite voxel", "give a volume with finite voxels"));
        }
        if low == high {
            let finding = format!("is constant: every voxel is {low}");
            return Err(Problem::new(finding, "give a volume that shows something"));
        }
        Ok(Self { bad, range })
    }

    /// Puts the smallest voxel in the place of those that are not finite; says so where there were any.
    pub(crate) fn repair(&self, voxels: &mut [f32]) -> Option<String> {
        let Self { bad, range: [low, _] } = *self;
        if bad == 0 {
            return None;
        }
        voxels.par_iter_mut().filter(|voxel| !voxel.is_finite()).for_each(|voxel| *voxel = low);
        Some(format!("{bad} voxels were not finite and took the volume's minimum, {low}"))
    }
}

impl RawVolume {
    /// A volume that the caller has in memory: `voxels` are `dims[0]` slices, the head's end first, of `dims[1]` rows,
    /// anterior first, of `dims[2]` columns, patient-right first, each slice after the other without gaps. Voxels that
    /// are not finite take the smallest value, and a note says so.
    ///
    /// ```
    /// use med2e3_loaders::volume::{RawVolume, VolumeKind};
    /// let hu: Vec<f32> = (0..4 * 5 * 6).map(|voxel| voxel as f32 - 60.0).collect();
    /// let volume = RawVolume::from_slices(&hu, [4, 5, 6], VolumeKind::Intensity)?;
    /// assert_eq!(volume.info.range, [-60.0, 59.0]);
    /// # Ok::<(), med2e3_loaders::Error>(())
    /// ```
    ///
    /// # Errors
    /// The voxels are not as many as `dims` says or too many, none of them is finite, all are the same, or those of a
    /// prepared volume are not within 0..1; memory runs out.
    pub fn from_slices(voxels: &[f32], dims: [usize; 3], kind: VolumeKind) -> Result<Self> {
        if voxels.len() as u64 > VOXELS_MAX {
            let finding = format!("has {} voxels", voxels.len());
            return Err(Error::bad_input("volume", finding, format!("give at most {VOXELS_MAX}")));
        }
        let lack = |lack| Error::out_of_memory("volume", lack);
        let mut copy = memory::filled(0.0, voxels.len()).map_err(lack)?;
        copy.copy_from_slice(voxels);
        let mut volume = Self { voxels: copy, dims, kind, info: VolumeInfo::default() };
        let found = volume.check()?;
        volume.info.notes.extend(found.repair(&mut volume.voxels));
        volume.info.format = "memory".to_owned();
        volume.info.dtype = "f32".to_owned();
        volume.info.source_dims = dims.to_vec();
        volume.info.range = found.range;
        Ok(volume)
    }

    /// A volume that the caller has in memory with the affine of its file, turned as a file's is. `voxels` are stored
    /// with the first of the three sizes fastest; `affine` is the upper three rows of the matrix that takes indices of
    /// the three axes to RAS coordinates in mm, as nibabel has it.
    ///
    /// # Errors
    /// As [`Self::from_slices`]; the affine is not finite or does not span space.
    pub fn from_array(
        voxels: &[f32],
        dims: [usize; 3],
        affine: [[f64; 4]; 3],
        kind: VolumeKind,
        options: &VolumeOptions,
    ) -> Result<Self> {
        let columns = [0, 1, 2].map(|axis| affine.map(|row| row[axis]));
        let refused = |problem: Problem| problem.at(Path::new("volume"));
        let orientation = Orientation::closest(&columns, options.slice_order).map_err(refused)?;
        let Self { voxels, mut info, .. } = Self::from_slices(voxels, dims, kind)?;
        let turned = orientation::reorder(voxels, dims, orientation.from_axis, orientation.flipped);
        let (voxels, dims) = turned.map_err(|lack| Error::out_of_memory("volume", lack))?;
        let origin = Some(affine.map(|row| row[3])).filter(|origin| origin.iter().all(|x| x.is_finite()));
        let affine = Affine { columns, spacing_known: true, origin };
        info.slices = identity::slices_of_grid(&affine, &orientation, dims[0]);
        info.spacing_mm = Some(orientation.spacing(&columns));
        info.orientation = Some(orientation);
        Ok(Self { voxels, dims, kind, info })
    }

    /// Looks at a volume that any caller may have made: the voxels must be as many as the sizes say, and of a prepared
    /// volume within 0..1.
    pub(crate) fn check(&self) -> Result<Found> {
        let refuse = |finding: String, remedy: &str| Err(Error::bad_input("volume", finding, remedy));
        let count = self.dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
        if count != Some(self.voxels.len()) {
            let finding = format!("has {} voxels, but its sizes are {:?}", self.voxels.len(), self.dims);
            return refuse(finding, "give as many voxels as the product of the sizes");
        }
        let found = Found::of(&self.voxels).map_err(|problem| problem.at(Path::new("volume")))?;
        let [low, high] = found.range;
        if self.kind == VolumeKind::Prepared && (low < 0.0 || high > 1.0) {
            let finding = format!("is said to be prepared, but holds values from {low} to {high}, wanted 0 to 1");
            return refuse(finding, "scale it, or say that it holds intensities");
        }
        Ok(found)
    }
}

/// `part` of `whole` in percent, for a note.
pub(crate) fn share(part: usize, whole: usize) -> String {
    let percent = 100.0 * part as f64 / whole as f64;
    if percent < 0.05 { "less than 0.1 %".to_owned() } else { format!("{percent:.1} %") }
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

/// Reads the volume at `path`: .npy, NIfTI, NRRD, MetaImage, DICOM file or folder, a zip of one scan, or a folder of
/// PNG or JPEG slices.
///
/// # Errors
/// One sentence that names the file, what was found and what to do, for anything that is not one sound volume.
pub fn read_volume(path: &Path, options: &VolumeOptions) -> Result<RawVolume> {
    detect::read_parts(path, options).and_then(Parts::settle).map_err(|problem| problem.at(path))
}

/// Reads a scan that the caller has in memory: the bytes of one file, a zip among them, of any format that
/// [`read_volume`] reads. Of `name` the ending counts where it says whether the file is packed, or is an .npz; it is
/// for messages otherwise.
///
/// # Errors
/// As [`read_volume`]; a header whose voxels are in another file is refused.
pub fn read_bytes(name: &str, bytes: &[u8], options: &VolumeOptions) -> Result<RawVolume> {
    let read = detect::read_bytes(name, bytes, options);
    read.and_then(Parts::settle).map_err(|problem| problem.at(Path::new(name)))
}

/// Reads the bytes of a NIfTI file, compressed or not.
///
/// # Errors
/// As [`read_volume`].
pub fn parse_nifti_bytes(bytes: &[u8], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    nifti::read(&InMemory { name: "", bytes }, 0, options)?.settle()
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
#[cfg(feature = "dicom")]
pub fn parse_dicom_files(files: &[(String, Vec<u8>)], options: &VolumeOptions) -> Result<RawVolume, Problem> {
    dicom::read(files, options)?.settle()
}

/// Which of `volumes` is meant; `what` says what holds them.
pub(crate) fn pick(volumes: u64, options: &VolumeOptions, what: impl Fn() -> String) -> Result<u64, Problem> {
    check_no_series(options)?;
    choose(volumes, options.index, what)
}

/// Refuses a choice of series in formats that have none.
pub(crate) fn check_no_series(options: &VolumeOptions) -> Result<(), Problem> {
    match options.series {
        Some(_) => Err(Problem::new("is no DICOM and has no series", "leave out --series")),
        None => Ok(()),
    }
}

/// As [`pick`], by number alone.
pub(crate) fn choose(volumes: u64, index: Option<usize>, what: impl Fn() -> String) -> Result<u64, Problem> {
    match index {
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
