//! Bytes on disk to checked host data: checkpoints, configs, tokenizers, CT volumes, preprocessing.
#![deny(unsafe_code)]
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod adapter;
#[cfg(any(feature = "dicom", feature = "images"))]
mod budget;
pub mod checkpoint;
pub mod config;
pub mod convert;
pub mod error;
pub mod expected;
pub mod files;
pub mod finite;
pub mod guard;
mod memory;
pub mod mmap;
pub mod model_folder;
mod pickle;
pub mod preprocess_json;
pub mod safetensors;
pub mod safetensors_writer;
pub mod sentence;
pub mod tensor;
pub mod tokenizer;
pub mod torch_zip;
pub mod volume;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use convert::convert;
pub use error::{Error, Result};
pub use expected::{Part, TensorSpec, expected_tensors};
pub use finite::{NonFinite, count_non_finite};
pub use memory::OutOfMemory;
pub use model_folder::{CheckOptions, ModelFolder, Tokenizers};
pub use safetensors_writer::{Declared, SafetensorsWriter};
pub use sentence::sentence;
pub use tensor::{DType, Tensor};
pub use tokenizer::{BertTokenizer, DecodeStream, LlmTokenizer};
