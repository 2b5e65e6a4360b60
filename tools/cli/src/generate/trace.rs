//! `--trace`: every stage's values as a safetensors file.

use std::path::Path;

use med2e3::{Trace, TraceTensor};
use med2e3_loaders::{DType, Declared, SafetensorsWriter};

use crate::failure::Result;
use crate::output::{self, Then};

/// Writes the stages, f32, under the paper's names.
pub fn write(path: &Path, force: bool, trace: &Trace) -> Result<()> {
    output::write_file(path, force, Then::More, |temporary| {
        let declared = |tensor: &TraceTensor| Declared {
            name: tensor.name.clone(),
            dtype: DType::F32,
            shape: tensor.dims.clone(),
        };
        let table: Vec<Declared> = trace.tensors.iter().map(declared).collect();
        let mut writer = SafetensorsWriter::create(temporary, &table)?;
        for tensor in &trace.tensors {
            let bytes: Vec<u8> = tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect();
            writer.write(&tensor.name, &bytes)?;
        }
        Ok(writer.finish()?)
    })
}
