//! Which part of the intensities is scaled to 0..1, and what decided it.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::{Found, RawVolume, Unit, VolumeKind, VolumeOptions, share};
use crate::error::{Error, Result};

/// Air in Hounsfield units, as low as a CT scanner measures: lower values fill places that it did not see.
pub(crate) const HU_MIN: f32 = -1024.0;

/// Intensities from `lo` to `hi`: finite, and `lo` is below `hi`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Window {
    lo: f32,
    hi: f32,
}

impl Window {
    /// The window from `lo` to `hi`, unless these are not two rising finite numbers.
    pub fn new(lo: f32, hi: f32) -> Option<Self> {
        (lo.is_finite() && hi.is_finite() && lo < hi).then_some(Self { lo, hi })
    }

    /// What becomes 0, with all that lies below it.
    pub fn lo(self) -> f32 {
        self.lo
    }

    /// What becomes 1, with all that lies above it.
    pub fn hi(self) -> f32 {
        self.hi
    }

    #[cfg(feature = "dicom")]
    /// The window of `width` around `centre`, as DICOM writes it.
    pub(crate) fn around(centre: f64, width: f64) -> Option<Self> {
        Self::new((centre - width / 2.0) as f32, (centre + width / 2.0) as f32)
    }

    /// Whether voxels show anything through the window.
    fn shows(self, found: &Found) -> bool {
        let [low, high] = found.range.map(|end| end.clamp(self.lo, self.hi));
        low < high
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.lo, self.hi)
    }
}

impl FromStr for Window {
    type Err = String;

    /// `LO,HI`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |part: &str| part.trim().parse::<f32>().ok();
        let ends = text.split_once(',').and_then(|(lo, hi)| Some((number(lo)?, number(hi)?)));
        let (lo, hi) = ends.ok_or("wanted LO,HI, such as -160,240, or one of the names")?;
        Self::new(lo, hi).ok_or_else(|| "wanted LO below HI".to_owned())
    }
}

/// Windows with a name, in Hounsfield units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Soft tissue: -160 to 240.
    Soft,
    /// Lung: -1350 to 150.
    Lung,
    /// Bone: -500 to 1300.
    Bone,
    /// Brain: 0 to 80.
    Brain,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Soft, Self::Lung, Self::Bone, Self::Brain];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Lung => "lung",
            Self::Bone => "bone",
            Self::Brain => "brain",
        }
    }

    /// Its window.
    pub fn window(self) -> Window {
        match self {
            Self::Soft => Window { lo: -160.0, hi: 240.0 },
            Self::Lung => Window { lo: -1350.0, hi: 150.0 },
            Self::Bone => Window { lo: -500.0, hi: 1300.0 },
            Self::Brain => Window { lo: 0.0, hi: 80.0 },
        }
    }
}

/// What the user says about the window.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum WindowChoice {
    /// The model's own, else a CT's own, else the full range from -1024 HU up.
    #[default]
    Auto,
    /// No window: nothing is clipped.
    Full,
    /// The scan's own, whatever its modality.
    File,
    /// A named one.
    Preset(Preset),
    /// This one.
    Given(Window),
}

impl fmt::Display for WindowChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Full => f.write_str("full"),
            Self::File => f.write_str("file"),
            Self::Preset(preset) => f.write_str(preset.name()),
            Self::Given(window) => window.fmt(f),
        }
    }
}

impl FromStr for WindowChoice {
    type Err = String;

    /// What [`fmt::Display`] shows: `auto`, `full`, `file`, a preset's name or `LO,HI`.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "full" => Ok(Self::Full),
            "file" => Ok(Self::File),
            _ => match Preset::ALL.into_iter().find(|preset| preset.name() == text) {
                Some(preset) => Ok(Self::Preset(preset)),
                None => text.parse().map(Self::Given),
            },
        }
    }
}

/// Where a window came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WindowSource {
    /// The user gave its two numbers.
    User,
    /// The user gave its name.
    Preset,
    /// The model's `preprocess.json`.
    Model,
    /// The scan.
    File,
    /// There is none.
    None,
}

impl fmt::Display for WindowSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Preset => "preset",
            Self::Model => "model",
            Self::File => "file",
            Self::None => "none",
        })
    }
}

/// The window that was applied. Field names are a public contract.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AppliedWindow {
    /// Where it came from.
    pub from: WindowSource,
    /// Its two ends; where there is none, the ends of the range that is scaled to 0..1.
    #[serde(flatten)]
    pub window: Window,
}

/// A window and what the user should know about it, a sentence each.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowDecision {
    /// The window.
    pub applied: AppliedWindow,
    /// Which window it is and why; what it does to the volume.
    pub notes: Vec<String>,
}

impl RawVolume {
    /// The window that [`frame`](super::frame) finds for this volume.
    ///
    /// # Errors
    /// The window shows nothing of the volume; the scan's own is asked for and it has none; the voxels are constant, or
    /// not finite, or not as many as `dims` says.
    pub fn window(&self, options: &VolumeOptions) -> Result<WindowDecision> {
        decide(self, &self.check()?, options)
    }
}

/// A window, and why it is this one.
struct Candidate {
    from: WindowSource,
    window: Window,
    why: &'static str,
}

/// Decides the window of a volume whose voxels are known.
pub(crate) fn decide(raw: &RawVolume, found: &Found, options: &VolumeOptions) -> Result<WindowDecision> {
    if raw.kind == VolumeKind::Prepared {
        return prepared(raw, options.window);
    }
    let Some(Candidate { from, window, why }) = candidate(raw, found, options)? else {
        return without_window(raw, found, options.window);
    };
    let Window { lo, hi } = window;
    if !window.shows(found) {
        let range = format!("{}..{}", found.range[0], found.range[1]);
        let finding = format!("the window {lo},{hi} leaves nothing of the volume's range {range} ({why})");
        return Err(Error::bad_input("--window", finding, "choose a window that overlaps the range"));
    }
    let notes = vec![format!("the window {lo} to {hi} was applied: {why}")];
    Ok(WindowDecision { applied: AppliedWindow { from, window }, notes })
}

/// The window to apply, where there is one.
fn candidate(raw: &RawVolume, found: &Found, options: &VolumeOptions) -> Result<Option<Candidate>> {
    let own = raw.info.window.map(|window| {
        let why = "it is the scan's own, its WindowCenter and WindowWidth";
        Candidate { from: WindowSource::File, window, why }
    });
    let models = options.model_window.map(|window| {
        let why = "it stands in the model's preprocess.json";
        Candidate { from: WindowSource::Model, window, why }
    });
    Ok(match options.window {
        WindowChoice::Full => None,
        WindowChoice::Given(window) => Some(Candidate { from: WindowSource::User, window, why: "--window gives it" }),
        WindowChoice::Preset(preset) => {
            let why = "--window names it";
            Some(Candidate { from: WindowSource::Preset, window: preset.window(), why })
        }
        WindowChoice::File => Some(own.ok_or_else(|| no_window(raw))?),
        // Pictures are windowed before they are saved, and grey values are no Hounsfield units.
        WindowChoice::Auto if raw.info.unit == Unit::Grey => None,
        WindowChoice::Auto => models.or(own.filter(|own| raw.info.unit == Unit::Hounsfield && own.window.shows(found))),
    })
}

fn no_window(raw: &RawVolume) -> Error {
    let finding = format!("file is asked for, but the scan ({}) holds no window", raw.info.format);
    Error::bad_input("--window", finding, "choose another, for example soft, or full for none")
}

/// A volume that is prepared has gone through its window already.
fn prepared(raw: &RawVolume, choice: WindowChoice) -> Result<WindowDecision> {
    let notes = match choice {
        WindowChoice::Auto | WindowChoice::Full => Vec::new(),
        WindowChoice::File => return Err(no_window(raw)),
        WindowChoice::Preset(_) | WindowChoice::Given(_) => {
            vec!["the window was not applied: the .npy is already scaled to 0..1".to_owned()]
        }
    };
    let applied = AppliedWindow { from: WindowSource::None, window: Window { lo: 0.0, hi: 1.0 } };
    Ok(WindowDecision { applied, notes })
}

/// The full range, from -1024 HU up unless `--window full` asks for all of it.
fn without_window(raw: &RawVolume, found: &Found, choice: WindowChoice) -> Result<WindowDecision> {
    let [lowest, hi] = found.range;
    let asked = choice == WindowChoice::Full;
    let lo = if raw.info.unit == Unit::Hounsfield && !asked { lowest.max(HU_MIN) } else { lowest };
    let mut notes = Vec::new();
    if lo >= hi {
        let finding = format!("has no intensity above {HU_MIN}, which is air in Hounsfield units: its highest is {hi}");
        return Err(Error::bad_input("volume", finding, "take the values as they are with --window full"));
    }
    if lo > lowest {
        let below = raw.voxels.iter().filter(|&&voxel| voxel < lo).count();
        let share = share(below, raw.voxels.len());
        notes.push(format!("{share} of the voxels lie below {lo} HU, down to {lowest}, and were taken for {lo}"));
    }
    if let Some(own) = raw.info.window.filter(|_| !asked) {
        let why = if own.shows(found) { "is not in Hounsfield units" } else { "shows nothing of it" };
        notes.push(format!("the scan's own window, {} to {}, {why} and was not used", own.lo, own.hi));
    }
    notes.push(if asked {
        format!("no window was applied, as --window full asks: {lo} to {hi} was scaled to 0..1")
    } else {
        format!(
            "no window was applied: the full range, {lo} to {hi}, was scaled to 0..1; choose a window with --window"
        )
    });
    let window = Window { lo, hi };
    Ok(WindowDecision { applied: AppliedWindow { from: WindowSource::None, window }, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_rise() {
        assert_eq!("-160,240".parse().ok(), Window::new(-160.0, 240.0));
        for bad in ["240,-160", "1,1", "nan,2", "-inf,2", "1", "1,2,3", "Soft", "none", ""] {
            assert!(bad.parse::<WindowChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_typed_is_what_is_shown() {
        for text in ["auto", "full", "file", "soft", "lung", "bone", "brain", "-200,300", "0.5,80"] {
            assert_eq!(text.parse::<WindowChoice>().unwrap().to_string(), text);
        }
    }
}
