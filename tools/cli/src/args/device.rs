//! `--precision`, and how commands open what `--device` names.

use clap::ValueEnum;
use med2e3::{DeviceChoice, Precision};

use crate::failure::Result;

/// How the processor computes large products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionChoice {
    /// Never round an activation
    Exact,
    /// Inputs of large products may be rounded to bf16
    Fast,
}

impl From<PrecisionChoice> for Precision {
    fn from(choice: PrecisionChoice) -> Self {
        match choice {
            PrecisionChoice::Exact => Self::Exact,
            PrecisionChoice::Fast => Self::Fast,
        }
    }
}

/// Refuses, before anything is read, a device that cannot be used.
pub fn check(choice: DeviceChoice) -> Result<()> {
    choice.gpu()?;
    Ok(())
}
