//! Prints how likely each of some answers is, and the most likely one:
//! `cargo run --release -p med2e3 --example options -- MODEL SCAN QUESTION OPTION OPTION ...`.
use med2e3::volume::{VolumeOptions, read_volume};
use med2e3::{DeviceChoice, Engine, LoadOptions, ModelFolder, Request, prepare};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let [model, scan, question] = std::array::from_fn(|_| arguments.next().expect("MODEL SCAN QUESTION OPTION ..."));
    let texts: Vec<String> = arguments.collect();
    let folder = ModelFolder::open(model.as_ref())?;
    let device = DeviceChoice::Auto.open(None, &folder)?;
    let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
    let prepared = prepare(engine.device(), &read_volume(scan.as_ref(), &options)?, engine.img_size(), &options)?;
    let volume = engine.encode(prepared.voxels)?;
    let scoring = engine.score(&volume, Request::new(question), &texts)?;
    for (text, score) in texts.iter().zip(&scoring.options) {
        println!("{:9.4} a token, {:9.4} in all: {text}", score.mean, score.sum);
    }
    println!("{}", texts[scoring.best]);
    Ok(())
}
