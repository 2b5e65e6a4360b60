//! `preprocess`: a scan to the .npy that the model takes.

use std::path::PathBuf;

use clap::Args;
use med2e3::{Cpu, Precision};
use med2e3_loaders::{ModelFolder, volume};

use crate::failure::Result;
use crate::output::Then;
use crate::volume_args::VolumeArgs;
use crate::{cli, output};

/// Turn a scan into the model's input: a .npy of shape (1,N,H,W), f32, within 0..1
#[derive(Debug, Args)]
pub struct Preprocess {
    /// .npy, NIfTI, DICOM file or folder, or a folder of PNG or JPEG slices
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

/// The released model's input.
pub const RELEASED_SIZE: [usize; 3] = [32, 256, 256];

/// Largest side asked for: 2048 slices of 2048 by 2048 would be 32 GiB, so the product is bounded as well.
const SIDE_MAX: usize = 4096;
const VOXELS_MAX: usize = 1 << 29;

/// Three sides within bounds.
pub fn size(text: &str) -> Result<[usize; 3], String> {
    let size: [usize; 3] = cli::list(text)?;
    let sides = size.iter().all(|side| (1..=SIDE_MAX).contains(side));
    if sides && size.iter().product::<usize>() <= VOXELS_MAX {
        Ok(size)
    } else {
        Err(format!("wanted three sides of 1 to {SIDE_MAX}, with at most {VOXELS_MAX} voxels in all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        assert_eq!(size("32,256,256"), Ok([32, 256, 256]));
        for bad in ["0,1,1", "4096,4096,4096", "32,256", "1,1,99999", "-1,2,3"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
