//! Answers questions about a volume that was never a file, with the processor alone.
#![forbid(unsafe_code)]

use std::ops::ControlFlow;

use med2e3::volume::{RawVolume, VolumeKind, VolumeOptions};
use med2e3::{DeviceChoice, Emulation, Engine, Gpu, LoadOptions, ModelFolder, Request, prepare};
use rayon::prelude::*;

/// What is printed, one JSON object on a line.
#[derive(serde::Serialize)]
struct Line {
    question: &'static str,
    answer: String,
    top_slice: Option<usize>,
}

/// Slices, rows, columns.
const DIMS: [usize; 3] = [24, 96, 96];

/// An ellipse of soft tissue in air with a bright ball in its left half, in Hounsfield units.
fn hounsfield(index: usize) -> f32 {
    let [slice, row, column] = [index / (96 * 96), index / 96 % 96, index % 96].map(|at| at as f32);
    let inside = ((row - 48.0) / 36.0).powi(2) + ((column - 48.0) / 44.0).powi(2) < 1.0;
    let ball = (slice - 14.0).powi(2) + ((row - 50.0) / 3.0).powi(2) + ((column - 66.0) / 3.0).powi(2) < 9.0;
    if ball { 90.0 } else if inside { 35.0 + (index % 7) as f32 } else { -1000.0 }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let voxels: Vec<f32> = (0..DIMS.iter().product()).into_par_iter().map(hounsfield).collect();
    let folder = ModelFolder::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tools/research/demo/model").as_ref())?;
    let device = DeviceChoice::Auto.open(None, &folder)?;
    let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
    let scan = RawVolume::from_slices(&voxels, DIMS, VolumeKind::Intensity)?;
    let volume = prepare(engine.device(), &scan, engine.img_size(), &options)?;
    let encoded = engine.encode(volume.voxels)?;
    for (question, wanted) in [("Which plane is shown?", "Axial"), ("Which organ is abnormal?", "")] {
        let answer = engine.ask(&encoded, Request::new(question))?;
        let scores = answer.slice_scores.as_deref().unwrap_or_default();
        let top_slice = (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        assert!(!answer.text.is_empty() && answer.text.starts_with(wanted), "{question} {}", answer.text);
        println!("{}", serde_json::to_string(&Line { question, answer: answer.text, top_slice })?);
    }
    // What this build leaves out says so.
    for refused in [Gpu::cuda(0).err(), Gpu::try_emulated(Emulation::default()).err()] {
        let refused = refused.expect("left out of this build").to_string();
        assert!(refused.contains("--features"), "{refused}");
    }
    Ok(())
}
