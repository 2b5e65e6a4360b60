//! `--demo`: a tiny model with random weights and a made-up scan, so that a first run needs no download.

use std::path::Path;

use loaders::volume::{RawVolume, VolumeInfo, VolumeKind};
use tempfile::TempDir;

use crate::failure::{Failure, Result};
use crate::interrupt::Unfinished;
use crate::make_model::{self, Preset};
use crate::phantom::{Case, DIMS, Scan};

/// What is said before the demo's answer.
pub const DISCLAIMER: &str =
    "the demo model's weights are random, so its words mean nothing; it shows that every stage runs";
/// What is asked unless the user asks something.
pub const QUESTION: &str = "What abnormality does this CT scan show?";

/// How long an answer gets unless the user says so: random weights seldom end one.
pub const MAX_NEW_TOKENS: usize = 32;

const MODEL_SEED: u64 = 1;
const VOLUME_SEED: u64 = 1;

/// The demo's model in a temporary folder, removed with this value.
pub struct TemporaryModel {
    folder: TempDir,
    _unfinished: Unfinished,
}

impl TemporaryModel {
    /// Makes the model.
    pub fn make() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("engine-cli-demo-").tempdir().map_err(|error| {
            Failure::runtime(format!("cannot make a temporary folder for the demo: {error}; set TMPDIR to one"))
        })?;
        let unfinished = Unfinished::new(folder.path());
        make_model::write_model(folder.path(), Preset::Tiny, MODEL_SEED, &mut |_, _| ())?;
        Ok(Self { folder, _unfinished: unfinished })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// The made-up scan.
pub fn volume() -> RawVolume {
    let voxels = Scan::new(&Case::new(VOLUME_SEED), DIMS).prepared();
    let info = VolumeInfo {
        format: "phantom".into(),
        source_dims: DIMS.to_vec(),
        dtype: "f32".into(),
        spacing_mm: None,
        orientation: None,
        range: [0.0, 1.0],
        rescale: None,
        modality: None,
        series: None,
        notes: Vec::new(),
    };
    RawVolume { voxels, dims: DIMS, kind: VolumeKind::Prepared, info }
}
