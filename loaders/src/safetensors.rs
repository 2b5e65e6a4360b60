//! The safetensors header: names, types and byte ranges, checked against the file before anything is used.

use std::path::Path;

use safetensors::tensor::{Dtype, Metadata};

use crate::error::{Error, Result};
use crate::tensor::{DType, Data, Entry};

/// Longest header that the format's own library accepts.
const HEADER_BYTES_MAX: usize = 100_000_000;
/// Bytes of the little-endian header length that opens a file.
const LENGTH_BYTES: usize = 8;

/// Reads the header of a whole safetensors file in `bytes`. Ranges are positions in `bytes`, in file order, without
/// holes or overlaps up to its end. `path` is for messages alone.
pub fn read_header(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>> {
    let bad = |finding: String| Error::bad_input(path, finding, "the file is damaged or incomplete: fetch it again");
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(bad(format!("has {} bytes, but a safetensors header alone needs {LENGTH_BYTES}", bytes.len())));
    };
    let header_len = u64::from_le_bytes(*length);
    let header =
        usize::try_from(header_len).ok().filter(|&len| len <= HEADER_BYTES_MAX).and_then(|len| rest.get(..len));
    let Some(header) = header else {
        return Err(bad(format!("promises a header of {header_len} bytes, but {} bytes follow", rest.len())));
    };
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|e| bad(format!("its safetensors header cannot be read: {e}")))?;
    // The crate checks each tensor's range against its shape and type, and that ranges follow one another from 0. Its
    // own comparison with the file's length can wrap around, so that one is made here.
    let data_start = LENGTH_BYTES + header.len();
    let data_len = bytes.len() - data_start;
    if metadata.data_len() != data_len {
        let promised = metadata.data_len();
        return Err(bad(format!("promises {promised} bytes of tensors, but holds {data_len}")));
    }
    let entries = metadata.offset_keys().into_iter().filter_map(|name| {
        let info = metadata.info(&name)?;
        let (start, end) = info.data_offsets;
        let (dtype, shape) = (dtype_of(info.dtype), info.shape.clone());
        Some(Entry { name, dtype, shape, data: Data::InFile(data_start + start..data_start + end) })
    });
    Ok(entries.collect())
}

fn dtype_of(dtype: Dtype) -> Result<DType, String> {
    match dtype {
        Dtype::F32 => Ok(DType::F32),
        Dtype::F16 => Ok(DType::F16),
        Dtype::BF16 => Ok(DType::Bf16),
        other => Err(other.to_string()),
    }
}
