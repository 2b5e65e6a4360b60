//! Formats that this build recognises and does not read.

use super::Problem;

fn refuse(what: &str, feature: &str) -> Problem {
    Problem::new(format!("{what}, which this build does not read"), format!("build it with --features {feature}"))
}

/// In the place of the reader of DICOM.
#[cfg(not(feature = "dicom"))]
pub(super) mod dicom {
    use crate::volume::files::Files;
    use crate::volume::{Parts, Problem, VolumeOptions};

    pub(crate) fn may_be_directory(_: &[u8]) -> bool {
        false
    }

    pub(crate) fn files_of(_: &[u8]) -> Result<Option<Vec<Vec<String>>>, Problem> {
        Ok(None)
    }

    pub(crate) fn sniff(start: &[u8]) -> bool {
        start.get(128..132) == Some(b"DICM")
    }

    pub(crate) fn read<F: Files + ?Sized>(_: &F, _: &VolumeOptions) -> Result<Parts, Problem> {
        Err(super::refuse("holds DICOM", "dicom"))
    }
}

/// In the place of the reader of folders of images.
#[cfg(not(feature = "images"))]
pub(super) mod images {
    use crate::volume::files::Files;
    use crate::volume::{Parts, Problem, VolumeOptions};

    pub(crate) fn read<F: Files + ?Sized>(_: &F, _: &VolumeOptions) -> Result<Parts, Problem> {
        Err(super::refuse("holds PNG or JPEG slices", "images"))
    }
}
