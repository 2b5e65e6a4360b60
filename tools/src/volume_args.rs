//! The flags that say how a volume is read, the same for every command that reads one.

use clap::{Args, ValueEnum};
use loaders::volume::{SliceOrder, VolumeOptions};

use crate::cli;

/// How a volume is read.
#[derive(Debug, Clone, Args)]
pub struct VolumeArgs {
    /// Clip intensities to LO..HI (Hounsfield units for CT) before they are scaled to 0..1
    #[arg(long, value_name = "LO,HI", value_parser = window, allow_hyphen_values = true)]
    pub window: Option<[f32; 2]>,
    /// Which end of the body comes first
    #[arg(long, value_enum, default_value = "superior-first")]
    pub slice_order: Order,
    /// Which volume of a file that holds several, counted from 0
    #[arg(long, value_name = "I")]
    pub index: Option<usize>,
    /// Accept a series whose slices are not evenly spaced
    #[arg(long)]
    pub allow_gaps: bool,
}

/// Order of the slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// The head's end first, as radiologists page
    SuperiorFirst,
    /// The feet's end first
    InferiorFirst,
}

impl VolumeArgs {
    /// The same, as the loaders want it.
    pub fn options(&self) -> VolumeOptions {
        let slice_order = match self.slice_order {
            Order::SuperiorFirst => SliceOrder::SuperiorFirst,
            Order::InferiorFirst => SliceOrder::InferiorFirst,
        };
        VolumeOptions { window: self.window, slice_order, index: self.index, allow_gaps: self.allow_gaps }
    }
}

fn window(text: &str) -> Result<[f32; 2], String> {
    let [low, high] = cli::list(text)?;
    if low < high && f32::is_finite(high - low) { Ok([low, high]) } else { Err("wanted LO below HI".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_rise() {
        assert_eq!(window("-160,240"), Ok([-160.0, 240.0]));
        for bad in ["240,-160", "1,1", "nan,2", "-inf,2", "1"] {
            assert!(window(bad).is_err(), "{bad}");
        }
    }
}
