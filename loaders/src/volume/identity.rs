//! Where a volume and its slices come from.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::grid::Affine;
use super::orientation::Orientation;

/// What a scan is known by, as DICOM says it; nothing in other formats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// StudyInstanceUID.
    pub study_uid: Option<String>,
    /// SeriesInstanceUID.
    pub series_uid: Option<String>,
    /// SeriesNumber.
    pub series_number: Option<i64>,
    /// FrameOfReferenceUID, where all slices have the same: positions of one frame of reference can be compared.
    pub frame_of_reference_uid: Option<String>,
}

/// Where a slice of a volume as read comes from.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SourceSlice {
    /// SOPInstanceUID of the DICOM file that it is a frame of.
    pub sop_instance_uid: Option<String>,
    /// The frame's number in that file, from 1 as DICOM counts them.
    pub frame: Option<usize>,
    /// InstanceNumber of that file.
    pub instance_number: Option<i64>,
    /// The centre of the voxel of the slice that the file stores first, mm, in DICOM's patient coordinates: x to the
    /// left, y posterior, z superior. In DICOM this is ImagePositionPatient.
    pub position_mm: Option<[f64; 3]>,
}

/// `uid` as the first 32 hexadecimal digits of its SHA-256: equal ones stay equal.
fn hashed(uid: &str) -> String {
    Sha256::digest(uid).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Identity {
    /// Puts hashes in the place of all UIDs.
    pub(crate) fn hash_uids(&mut self) {
        let Self { study_uid, series_uid, frame_of_reference_uid, .. } = self;
        for uid in [study_uid, series_uid, frame_of_reference_uid].into_iter().flatten() {
            *uid = hashed(uid);
        }
    }
}

impl SourceSlice {
    /// Puts a hash in the place of the UID.
    pub(crate) fn hash_uids(&mut self) {
        if let Some(uid) = &mut self.sop_instance_uid {
            *uid = hashed(uid);
        }
    }
}

/// The stored place of slice `slice` of `count`, in reading order.
pub(crate) fn stored_place(orientation: &Orientation, slice: usize, count: usize) -> usize {
    if orientation.flipped[0] { count - 1 - slice } else { slice }
}

/// The slices of a grid with `count` of them in reading order.
pub(crate) fn slices_of_grid(affine: &Affine, orientation: &Orientation, count: usize) -> Vec<SourceSlice> {
    let step = affine.columns[orientation.from_axis[0]];
    let position = |slice: usize| {
        let [x, y, z] = affine.origin?;
        let place = stored_place(orientation, slice, count) as f64;
        Some([-(x + step[0] * place), -(y + step[1] * place), z + step[2] * place])
    };
    (0..count).map(|slice| SourceSlice { position_mm: position(slice), ..SourceSlice::default() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_keep_what_is_equal_equal() {
        let identity =
            || Identity { study_uid: Some("1.2.3".into()), series_uid: Some("1.2.4".into()), ..Identity::default() };
        let mut a = identity();
        let mut b = identity();
        a.hash_uids();
        b.hash_uids();
        assert_eq!(a, b);
        // SHA-256 of "1.2.3", by coreutils' sha256sum.
        assert_eq!(a.study_uid.as_deref(), Some(SHA_256));
        assert_ne!(a.study_uid, a.series_uid);
        assert_eq!(a.frame_of_reference_uid, None);
    }

    const SHA_256: &str = "c47f5b18b8a430e698b9fe15e51f6119";
}
