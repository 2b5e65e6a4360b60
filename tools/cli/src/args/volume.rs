//! The flags that say how a volume is read, the same for every command that reads one.

use clap::{Args, ValueEnum};
use med2e3_loaders::volume::{Preset, SliceOrder, VolumeOptions, Window, WindowChoice};

use super::list::list;

/// How a volume is read.
#[derive(Debug, Clone, Args)]
pub struct VolumeArgs {
    /// Intensities that become 0 and 1, Hounsfield units in a CT; those outside are clipped: LO,HI; soft (-160,240),
    /// lung (-1350,150), bone (-500,1300), brain (0,80); file: the scan's own; full: nothing is clipped; auto: the
    /// model's own, else that of a CT in DICOM, else nothing is clipped but what lies below -1024
    #[arg(long, value_name = "WINDOW", default_value = "auto", value_parser = choice, allow_hyphen_values = true)]
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

/// `--window`.
fn choice(text: &str) -> Result<WindowChoice, String> {
    match text {
        "auto" => Ok(WindowChoice::Auto),
        "full" => Ok(WindowChoice::Full),
        "file" => Ok(WindowChoice::File),
        _ => match Preset::ALL.into_iter().find(|preset| preset.name() == text) {
            Some(preset) => Ok(WindowChoice::Preset(preset)),
            None => window(text).map(WindowChoice::Given),
        },
    }
}

/// `LO,HI`.
pub fn window(text: &str) -> Result<Window, String> {
    let [lo, hi] = list(text).map_err(|_| "wanted LO,HI, such as -160,240, or one of the names".to_owned())?;
    Window::new(lo, hi).ok_or_else(|| "wanted LO below HI".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_rise() {
        assert_eq!(window("-160,240").ok(), Window::new(-160.0, 240.0));
        for bad in ["240,-160", "1,1", "nan,2", "-inf,2", "1", "Soft", "none", ""] {
            assert!(choice(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_typed_is_what_is_shown() {
        for text in ["auto", "full", "file", "soft", "lung", "bone", "brain", "-200,300", "0.5,80"] {
            assert_eq!(choice(text).unwrap().to_string(), text);
        }
    }
}
