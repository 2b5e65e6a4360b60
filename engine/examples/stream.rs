//! Prints an answer as it comes, and breaks off after its first sentence:
//! `cargo run --release -p med2e3 --example stream -- MODEL SCAN QUESTION`.
use med2e3::volume::{VolumeOptions, read_volume};
use med2e3::{DeviceChoice, Engine, Event, LoadOptions, ModelFolder, Request, prepare};
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [model, scan, question] = std::array::from_fn(|i| std::env::args().nth(i + 1).expect("MODEL SCAN QUESTION"));
    let folder = ModelFolder::open(model.as_ref())?;
    let device = DeviceChoice::Auto.open(None, &folder)?;
    let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
    let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
    let prepared = prepare(engine.device(), &read_volume(scan.as_ref(), &options)?, engine.img_size(), &options)?;
    let volume = engine.encode(prepared.voxels)?;
    for event in engine.submit(&volume, Request::new(question))? {
        match event? {
            Event::Begun { slice_scores: Some(scores), .. } => println!("{} slices are weighed", scores.len()),
            Event::Token { text, .. } | Event::Text(text) => {
                print!("{text}");
                if text.ends_with('.') {
                    break; // The iterator is dropped here, which cancels the question.
                }
            }
            _ => {}
        }
    }
    println!();
    Ok(())
}
