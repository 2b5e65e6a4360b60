//! Med-2E3 itself, written once over the `Device` trait.
//!
//! [`Engine::load`] makes a checkpoint usable on a device, [`Engine::encode`] looks at a volume once, and
//! [`Engine::ask`] answers questions about it:
//!
//! ```no_run
//! use med2e3::volume::{VolumeOptions, read_volume};
//! use med2e3::{DeviceChoice, Engine, Event, LoadOptions, ModelFolder, Request, prepare};
//! use std::ops::ControlFlow;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = ModelFolder::open("Med-2E3-M3D".as_ref())?;
//! let device = DeviceChoice::Auto.open(None, &folder)?;
//! let engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ControlFlow::Continue(()))?;
//!
//! let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
//! let scan = read_volume("scan.nii.gz".as_ref(), &options)?;
//! let prepared = prepare(engine.device(), &scan, engine.img_size(), &options)?;
//! let volume = engine.encode(prepared.voxels)?; // once per volume
//! for question in ["Which plane is shown?", "Is there a nodule?"] {
//!     let answer = engine.submit(&volume, Request::new(question))?.finish_with(&mut |event| {
//!         if let Event::Token { text, .. } = event {
//!             print!("{text}");
//!         }
//!         ControlFlow::Continue(())
//!     })?;
//!     println!("\n{:?}", answer.slice_scores);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A volume that is in memory becomes one with [`volume::RawVolume::from_slices`].
//!
//! # Features
//! `cuda`, `dicom` and `images` are on by default; `emulator` runs the GPU's kernels on the processor, for tests. With
//! none of them the engine computes on the processor and reads .npy and NIfTI.
//!
//! # In a program of your own
//! Cargo compiles dependencies of a debug build without optimisation, which slows the engine's loops down; add
//! `[profile.dev.package.med2e3-kernels] opt-level = 2` to your `Cargo.toml`. Products run on rayon's global pool; call
//! the engine inside `pool.install` to give it another. [`Engine`] and all that it returns are `Send` and `Sync`.
#![forbid(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod answering;
mod connector;
mod decoding;
pub mod device;
mod encoded;
mod encoder;
mod engine;
mod error;
mod facts;
mod finite;
mod kv;
mod kv_cache;
mod llm;
mod model;
mod options;
mod prefill;
mod prepare;
pub mod prompt;
mod request;
mod rope;
mod running;
mod sampling;
mod schedule;
mod scoring;
mod step;
mod stop;
mod text_encoder;
mod tgis;
mod trace;
mod units;
mod vision_2d;
mod vision_3d;
mod volumes;
mod weights;

pub use answering::{Answering, Canceller, Event, TimedOut};
pub use device::DeviceChoice;
pub use encoded::{ContentHash, Volume};
pub use engine::{Engine, OPTIONS_MAX};
pub use error::{Error, Result};
pub use finite::Stage;
pub use med2e3_kernels::ops::Sampling;
pub use med2e3_kernels::{Cpu, Device, Emulation, Gpu, Precision};
pub use med2e3_loaders::{ModelFolder, volume};
pub use model::MemoryPlan;
pub use options::{BATCH_MAX, LoadOptions, OnProgress, Progress, ProgressStage, TextMlp, TgisMode, VOLUMES_MAX};
pub use prepare::{PreparedVolume, prepare};
pub use request::{Answer, FinishReason, Request, STOP_BYTES_MAX, STOPS_MAX, Timings};
pub use schedule::Stats;
pub use scoring::{OptionScore, Scoring};
pub use trace::{Trace, TraceTensor};
/// The crates below this one, whole: a caller needs no other dependency.
pub use {med2e3_kernels as kernels, med2e3_loaders as loaders};

#[cfg(test)]
mod tests {
    use super::{Answer, Answering, Canceller, Engine, Error, Volume};

    #[test]
    fn threads_may_hand_on_everything() {
        fn is_shareable<T: Send + Sync>() {}
        is_shareable::<Engine>();
        is_shareable::<Volume>();
        is_shareable::<Answering>();
        is_shareable::<Canceller>();
        is_shareable::<Answer>();
        is_shareable::<Error>();
    }
}
