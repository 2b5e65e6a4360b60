//! `inspect`: what is in a model folder or a volume, before anything is run.

mod model;
mod volume;
mod weights;

use std::path::PathBuf;

use clap::Args;

use crate::args::volume::VolumeArgs;
use crate::failure::Result;

/// Say what is in a model folder or a volume
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["model", "volume"]))]
pub struct Inspect {
    /// The model's folder
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Read all weights, count those that are NaN or infinite, and exit with status 3 if there are any
    #[arg(long, conflicts_with = "volume")]
    weights: bool,
    /// .npy, NIfTI, NRRD, MetaImage, DICOM file or folder, a zip of one scan, or a folder of PNG or JPEG slices
    #[arg(long, value_name = "PATH")]
    volume: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Draw the slices as a model of 32 x 256 x 256 sees them
    #[arg(long, value_name = "FILE.png", requires = "volume")]
    montage: Option<PathBuf>,
    #[command(flatten)]
    how: VolumeArgs,
    /// With --json: put hashes in the place of all DICOM UIDs
    #[arg(long, requires = "json")]
    hash_uids: bool,
    /// Replace a picture that exists
    #[arg(long)]
    force: bool,
}

impl Inspect {
    /// Prints what is found.
    pub fn run(&self) -> Result<()> {
        if let Some(path) = &self.model {
            return model::inspect(path, self.weights, self.json);
        }
        match &self.volume {
            Some(path) => {
                let output = volume::Output {
                    json: self.json,
                    hash_uids: self.hash_uids,
                    montage: self.montage.as_deref(),
                    force: self.force,
                };
                volume::inspect(path, &self.how.options(None), &output)
            }
            None => Ok(()),
        }
    }
}
