//! The flags that say how a volume is read, the same for every command that reads one.

use clap::{Args, ValueEnum};
use med2e3_loaders::volume::{SliceOrder, VolumeOptions, Window, WindowChoice};

/// How a volume is read.
#[derive(Debug, Clone, Args)]
pub struct VolumeArgs {
    /// Intensities that become 0 and 1, Hounsfield units in a CT; those outside are clipped: LO,HI; soft (-160,240),
    /// lung (-1350,150), bone (-500,1300), brain (0,80); file: the scan's own; full: nothing is clipped; auto: the
    /// model's own, else that of a CT in DICOM, else nothing is clipped but what lies below -1024
    #[arg(long, value_name = "WINDOW", default_value = "auto", allow_hyphen_values = true)]
    pub window: WindowChoice,
    /// Which end of the body comes first
    #[arg(long, value_enum, default_value = "superior-first")]
    pub slice_order: Order,
    /// Which series of a DICOM folder: its SeriesInstanceUID, or its SeriesNumber
    #[arg(long, value_name = "UID|NUMBER")]
    pub series: Option<String>,
    /// Which volume of an input that holds several, counted from 0; with --series, of those of that series
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
    /// The same, as the loaders want it, for a model that was trained with `model_window`.
    pub fn options(&self, model_window: Option<Window>) -> VolumeOptions {
        let slice_order = match self.slice_order {
            Order::SuperiorFirst => SliceOrder::SuperiorFirst,
            Order::InferiorFirst => SliceOrder::InferiorFirst,
        };
        let Self { window, index, allow_gaps, .. } = *self;
        VolumeOptions { window, model_window, slice_order, series: self.series.clone(), index, allow_gaps }
    }
}
