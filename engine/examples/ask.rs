//! Asks a model about a scan: `cargo run --release -p med2e3 --example ask -- MODEL SCAN QUESTION`.
use med2e3::volume::{VolumeOptions, read_volume};
use med2e3::{DeviceChoice, Engine, LoadOptions, ModelFolder, Request, prepare};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [model, scan, question] = std::array::from_fn(|i| std::env::args().nth(i + 1).expect("MODEL SCAN QUESTION"));
    let folder = ModelFolder::open(model.as_ref())?;
    let device = DeviceChoice::Auto.open(None, &folder)?;
    let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
    let prepared = prepare(engine.device(), &read_volume(scan.as_ref(), &options)?, engine.img_size(), &options)?;
    let volume = engine.encode(prepared.voxels)?;
    println!("{}", engine.ask(&volume, Request::new(question))?.text);
    Ok(())
}
