//! What is in a volume.

use std::fmt::Write;
use std::path::Path;

use med2e3_loaders::sentence::{escaped, sentence};
use med2e3_loaders::volume::{self, RawVolume, VolumeInfo, VolumeKind, VolumeOptions, WindowDecision};
use serde::Serialize;

use crate::args::size::RELEASED_SIZE;
use crate::failure::Result;
use crate::output::Then;
use crate::preprocess::CPU;
use crate::volume_report::VolumeReport;
use crate::{montage, output, terminal};

/// Columns of the histogram.
const BINS: usize = 64;

#[derive(Debug, Serialize)]
struct Report<'a> {
    path: String,
    dims: [usize; 3],
    kind: VolumeKind,
    info: &'a VolumeInfo,
    volume: VolumeReport,
    histogram: Vec<u64>,
}

/// What is written about a volume.
pub struct Output<'a> {
    /// One JSON object instead of words.
    pub json: bool,
    /// Hashes in the place of UIDs.
    pub hash_uids: bool,
    /// A picture of the slices.
    pub montage: Option<&'a Path>,
    /// In the place of a picture that exists.
    pub force: bool,
}

/// Prints what there is to know about a volume, and draws it if asked to.
pub fn inspect(path: &Path, options: &VolumeOptions, output: &Output<'_>) -> Result<()> {
    let &Output { json, hash_uids, montage: montage_path, force } = output;
    if let Some(target) = montage_path {
        output::check_not_input(target, path)?;
        output::check_target(target, force)?;
    }
    let mut raw = volume::read_volume(path, options)?;
    if hash_uids {
        raw.info.hash_uids();
    }
    raw.info.notes.iter_mut().for_each(|note| *note = sentence(note));
    let decision = raw.window(options)?;
    let histogram = histogram(&raw);
    let shown = path.display().to_string();
    if json {
        let volume = VolumeReport { window: decision.applied, origin: None };
        let report = Report { path: shown, dims: raw.dims, kind: raw.kind, info: &raw.info, volume, histogram };
        output::print_json(&report)?;
    } else {
        output::print(&text(&shown, &raw, &decision, &histogram))?;
    }
    if let Some(target) = montage_path {
        let prepared = med2e3::prepare(&CPU, &raw, RELEASED_SIZE, options)?;
        output::write_bytes(target, force, Then::Done, &montage::montage_png(&prepared.voxels, prepared.dims, None)?)?;
    }
    Ok(())
}

/// Voxels in each of `BINS` equal parts of the range.
fn histogram(raw: &RawVolume) -> Vec<u64> {
    let [low, high] = raw.info.range.map(f64::from);
    let mut counts = vec![0; BINS];
    for &voxel in &raw.voxels {
        let place = (f64::from(voxel) - low) / (high - low) * BINS as f64;
        counts[(place as usize).min(BINS - 1)] += 1;
    }
    counts
}

fn text(path: &str, raw: &RawVolume, decision: &WindowDecision, histogram: &[u64]) -> String {
    let mut out = String::new();
    let info = &raw.info;
    let [slices, rows, columns] = raw.dims;
    let mut line = |label: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {label:<12} {}", escaped(&value));
    };
    line("format", format!("{}, {} voxels of shape {:?}", info.format, info.dtype, info.source_dims));
    line("volume", format!("{slices} slices of {rows} rows x {columns} columns"));
    if let Some([between, row, column]) = info.spacing_mm {
        line("spacing", format!("{between:.3} mm between slices, {row:.3} between rows, {column:.3} between columns"));
    }
    match &info.orientation {
        Some(orientation) => {
            let turned = if orientation.oblique_degrees > 0.1 {
                format!(", {:.1} degrees oblique", orientation.oblique_degrees)
            } else {
                String::new()
            };
            line(
                "orientation",
                format!("stored as {}{turned}; shown superior, anterior, right first", orientation.source_axes),
            );
        }
        None => line("orientation", "not given by the file; slices are taken as they are stored".into()),
    }
    let unit = match raw.kind {
        VolumeKind::Prepared => " (prepared: within 0..1)",
        VolumeKind::Intensity if info.modality.as_deref() == Some("CT") => " HU",
        VolumeKind::Intensity => "",
    };
    line("intensities", format!("{} to {}{unit}", info.range[0], info.range[1]));
    if let Some([slope, intercept]) = info.rescale {
        line("rescale", format!("stored value x {slope} + {intercept}"));
    }
    for (label, value) in [("modality", &info.modality), ("series", &info.series)] {
        if let Some(value) = value {
            line(label, value.clone());
        }
    }
    if let Some(window) = info.window {
        line("own window", format!("{} to {}", window.lo(), window.hi()));
    }
    let applied = decision.applied;
    let ends = applied.window;
    line("window", format!("{} to {} (from: {})", ends.lo(), ends.hi(), applied.from));
    for note in info.notes.iter().chain(&decision.notes) {
        line("note", note.clone());
    }
    line("histogram", format!("{BINS} equal parts; heights are square roots of counts"));
    // Air outnumbers everything else; square roots let the rest be seen.
    let heights: Vec<f32> = histogram.iter().map(|&count| (count as f64).sqrt() as f32).collect();
    for row in terminal::columns(&heights, 6, 1) {
        line("", format!("│{row}"));
    }
    line("", format!("{:<32}{:>33}", info.range[0], info.range[1]));
    format!("{}\n{out}", escaped(path))
}
