//! Med-2E3 itself, written once over the `Device` trait.
//!
//! [`Engine::load`] makes a checkpoint usable on a device, [`Engine::encode`] looks at a volume once, and
//! [`Engine::ask`] answers questions about it.
#![forbid(unsafe_code)]

mod connector;
mod encoder;
mod engine;
mod error;
mod generate;
mod kv_cache;
mod llm;
mod options;
pub mod prompt;
mod request;
mod rope;
mod sampling;
mod text_encoder;
mod tgis;
mod trace;
mod vision_2d;
mod vision_3d;
mod weights;

pub use engine::{EncodedVolume, Engine};
pub use error::{Error, Result};
pub use options::{LoadOptions, Progress, TextMlp, TgisMode};
pub use request::{Answer, AskTimings, FinishReason, Request, TokenEvent};
pub use trace::{Trace, TraceTensor};
