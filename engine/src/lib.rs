//! Med-2E3 itself, written once over the `Device` trait.
//!
//! [`Engine::load`] makes a checkpoint usable on a device, [`Engine::encode`] looks at a volume once, and
//! [`Engine::ask`] answers questions about it:
//!
//! ```no_run
//! use med2e3::{Engine, LoadOptions, Request};
//! use med2e3_kernels::{Cpu, Precision};
//! use med2e3_loaders::volume::{VolumeOptions, prepare, read_volume};
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = med2e3_loaders::ModelFolder::open("Med-2E3-M3D".as_ref())?;
//! let device = Arc::new(Cpu { precision: Precision::Exact });
//! let mut engine = Engine::load(device, &folder, &LoadOptions::default(), &mut |_| ())?;
//!
//! let options = VolumeOptions { model_window: folder.window, ..VolumeOptions::default() };
//! let volume = prepare(&read_volume("scan.nii.gz".as_ref(), &options)?, engine.img_size(), &options)?;
//! let encoded = engine.encode(&volume.voxels, &mut |_| ())?; // once per volume
//! for question in ["Which plane is shown?", "Is there a nodule?"] {
//!     let answer = engine.ask(&encoded, &Request::new(question), &mut |token| {
//!         print!("{}", token.text);
//!         ControlFlow::Continue(())
//!     })?;
//!     println!("\n{:?}", answer.slice_scores);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod checked;
mod connector;
mod decoding;
mod encoder;
mod engine;
mod error;
mod finite;
mod generate;
mod kv_cache;
mod llm;
mod options;
pub mod prompt;
mod request;
mod rope;
mod running;
mod sampling;
mod text_encoder;
mod tgis;
mod trace;
mod vision_2d;
mod vision_3d;
mod weights;

pub use engine::{EncodedVolume, Engine, MemoryPlan};
pub use error::{Error, Result};
pub use finite::Stage;
pub use generate::Question;
pub use options::{LoadOptions, Progress, TextMlp, TgisMode};
pub use request::{Answer, AskTimings, FinishReason, Request, TokenEvent};
pub use trace::{Trace, TraceTensor};
