//! `convert`: a model folder as safetensors, in the element type of choice.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use med2e3_loaders::DType;

use crate::failure::Result;
use crate::output::{self, Then};
use crate::progress::Bars;

/// Write a model folder again as safetensors
#[derive(Debug, Args)]
pub struct Convert {
    /// The model's folder; it is not changed
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The folder to write: a new one, or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Element type of the weights [default: as they are]
    #[arg(long, value_enum)]
    dtype: Option<ElementType>,
}

/// Element types to convert to. Not f16: weights trained in bf16 may be too large for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ElementType {
    Bf16,
    F32,
}

impl Convert {
    /// Converts the folder.
    pub fn run(&self) -> Result<()> {
        output::check_outside(&self.out, &self.model)?;
        output::check_folder_target(&self.out)?;
        let dtype = self.dtype.map(|dtype| match dtype {
            ElementType::Bf16 => DType::Bf16,
            ElementType::F32 => DType::F32,
        });
        let mut bars = Bars::new();
        output::write_folder(&self.out, Then::Done, |folder| {
            let progress = &mut |done, total| bars.show("write", done, total);
            Ok(med2e3_loaders::convert(&self.model, folder, dtype, progress)?)
        })
    }
}
