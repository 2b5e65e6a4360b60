//! Bytes on disk to checked host data: checkpoints, configs, tokenizers, CT volumes, preprocessing.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod expected;
pub mod mmap;
pub mod model_folder;
mod pickle;
pub mod safetensors;
pub mod tensor;
pub mod tokenizer;
pub mod torch_zip;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use error::{Error, Result};
pub use expected::{Part, TensorSpec, expected_tensors};
pub use model_folder::{CheckOptions, ModelFolder};
pub use tensor::{DType, Tensor};
pub use tokenizer::{BertTokenizer, DecodeStream, LlmTokenizer};
