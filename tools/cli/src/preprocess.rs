//! `preprocess`: a scan to the .npy that the model takes.

use std::path::PathBuf;

use clap::Args;
use med2e3::{Cpu, Precision};
use med2e3_loaders::{ModelFolder, volume};

use crate::args::size::{RELEASED_SIZE, size};
use crate::args::volume::VolumeArgs;
use crate::failure::Result;
use crate::output::{self, Then};

/// Turn a scan into the model's input: a .npy of shape (1,N,H,W), f32, within 0..1
#[derive(Debug, Args)]
pub struct Preprocess {
    /// .npy, NIfTI, NRRD, MetaImage, DICOM file or folder, a zip of one scan, or a folder of PNG or JPEG slices
    #[arg(long, value_name = "PATH")]
    volume: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE.npy")]
    out: PathBuf,
    /// Prepare it for this model: its size, and its window unless --window names another
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Slices, rows and columns to write [default: the model's, else 32,256,256]
    #[arg(long, value_name = "N,H,W", value_parser = size)]
    size: Option<[usize; 3]>,
    #[command(flatten)]
    how: VolumeArgs,
    /// Replace a file that exists
    #[arg(long)]
    force: bool,
}

impl Preprocess {
    /// Reads, prepares and writes.
    pub fn run(&self) -> Result<()> {
        for input in std::iter::once(&self.volume).chain(&self.model) {
            output::check_not_input(&self.out, input)?;
        }
        output::check_target(&self.out, self.force)?;
        let folder = self.model.as_deref().map(ModelFolder::open).transpose()?;
        let models = folder.as_ref().map_or(RELEASED_SIZE, |folder| folder.config.vision_3d.img_size);
        let options = self.how.options(folder.and_then(|folder| folder.window));
        let raw = volume::read_volume(&self.volume, &options)?;
        let prepared = med2e3::prepare(&CPU, &raw, self.size.unwrap_or(models), &options)?;
        for warning in &prepared.warnings {
            output::note(&format!("warning: {warning}"));
        }
        output::write_file(&self.out, self.force, Then::Done, |path| {
            Ok(volume::write_npy(path, prepared.dims, &prepared.voxels)?)
        })
    }
}

/// What prepares volumes for files: every device gives the same bits.
pub const CPU: Cpu = Cpu { precision: Precision::Exact };
