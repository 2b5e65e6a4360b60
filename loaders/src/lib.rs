//! Bytes on disk to checked host data: checkpoints, configs, tokenizers, CT volumes, preprocessing.
#![deny(unsafe_code)]

pub mod error;
pub mod tokenizer;

pub use error::{Error, Result};
pub use tokenizer::{BertTokenizer, DecodeStream, LlmTokenizer};
