//! Asks about a volume that was never a file, a bright ball in soft tissue:
//! `cargo run --release -p med2e3 --example memory_volume -- tools/research/demo/model "Which plane is shown?"`.
use med2e3::volume::{RawVolume, VolumeKind, VolumeOptions};
use med2e3::{DeviceChoice, Engine, LoadOptions, ModelFolder, Request, prepare};
use std::ops::ControlFlow;

/// Slices, from the head down; rows, from the front back; columns, from the patient's right.
const DIMS: [usize; 3] = [24, 96, 96];

/// Hounsfield units of one slice.
fn slice(number: usize) -> impl Iterator<Item = f32> {
    (0..DIMS[1] * DIMS[2]).map(move |at| {
        let [row, column] = [at / DIMS[2], at % DIMS[2]].map(|at| at as f32);
        let body = ((row - 48.0) / 36.0).powi(2) + ((column - 48.0) / 44.0).powi(2) < 1.0;
        let ball =
            (number as f32 - 14.0).powi(2) + ((row - 50.0) / 3.0).powi(2) + ((column - 66.0) / 3.0).powi(2) < 9.0;
        if ball {
            90.0
        } else if body {
            40.0
        } else {
            -1000.0
        }
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [model, question] = std::array::from_fn(|i| std::env::args().nth(i + 1).expect("MODEL QUESTION"));
    let folder = ModelFolder::open(model.as_ref())?;
    let device = DeviceChoice::Auto.open(None, &folder)?;
    let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
    let voxels: Vec<f32> = (0..DIMS[0]).flat_map(slice).collect();
    let scan = RawVolume::from_slices(&voxels, DIMS, VolumeKind::Intensity)?;
    let volume = engine.encode(prepare(engine.device(), &scan, engine.img_size(), &options)?.voxels)?;
    println!("{}", engine.ask(&volume, Request::new(question))?.text);
    Ok(())
}
