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
//! # Threads
//! Every [`Engine`] has one thread, which owns the device and runs one unit of work after the other. Callers on any
//! thread check and tokenise their own calls; [`Engine`], [`Volume`], [`Answering`] and all that they return are `Send`
//! and `Sync`, and no async runtime is needed: an executor polls [`Answering::poll_next_event`]. On the processor the
//! ops use rayon's global pool, or the engine's own with [`LoadOptions::threads`]. Callbacks run on the caller's
//! thread, so one that blocks holds nobody else up.
//!
//! # Memory
//! Everything is planned, to the byte, and allocated by [`Engine::load`]; [`Engine::plan`] says how much without
//! loading. [`LoadOptions::batch`] questions run at the same time in a KV cache of [`LoadOptions::cache_tokens`], and
//! [`LoadOptions::volumes`] volumes stay encoded. A [`Volume`] keeps its place until the last handle and the last
//! question about it are gone; when all places are kept, [`Engine::encode`] is [`Error::Busy`].
//!
//! Weights are mapped from their files, not copied, where the device allows it. A file that is cut short while it is
//! mapped ends the process with SIGBUS: to replace a model, write the new files beside the old ones, load them, and
//! drop the old engine.
//!
//! # Cancelling
//! Dropping an [`Answering`], a [`Canceller`] on another thread, or a break in a callback ends a question before the
//! next unit of work: one decoding step, or as many layers as [`LoadOptions::unit_steps`] allows. A question with a
//! [`Request::deadline`] ends by itself. Dropping the last handle of a volume that is being encoded ends that. When the
//! last [`Engine`] goes, every open stream ends with [`Error::Stopped`].
//!
//! # Errors of a service
//! [`Error::Request`] and [`Error::Foreign`] are the caller's (400), [`Error::Busy`] passes (503), [`Error::Deadline`]
//! is a time-out (504); [`Error::NonFinite`] and [`Error::Device`] are the model's and the machine's (500), and after
//! [`Error::Failed`] or a launch that failed the engine must be loaded again.
//!
//! # In a program of your own
//! Cargo compiles dependencies of a debug build without optimisation, which slows the engine's loops down; add
//! `[profile.dev.package.med2e3-kernels] opt-level = 2` to your `Cargo.toml`.
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
