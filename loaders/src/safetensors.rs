//! The safetensors header: names, types and byte ranges, checked against the file before anything is used.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{Error, Result};
use crate::memory;
use crate::tensor::{DType, Data, Entry};

/// Longest header that the format's own library accepts.
const HEADER_BYTES_MAX: usize = 100_000_000;
/// Most tensors of one file; the largest models have fewer than 100 000 in all their shards.
const TENSORS_MAX: usize = 1 << 17;
/// Most dimensions of a tensor; a checkpoint of ours has 5. Each costs two bytes of JSON and eight of memory.
const RANK_MAX: usize = 8;
/// Memory for a tensor's name, range and shape in all their copies, and the shortest JSON that can describe one.
const TENSOR_BYTES: usize = 512;
const TENSOR_JSON_BYTES_MIN: usize = 40;
/// Longest name of an element type that is compared with those there are.
const KIND_CHARS_MAX: usize = 16;
/// Bytes of the little-endian header length that opens a file.
const LENGTH_BYTES: usize = 8;
/// Longest reason of the JSON parser that is shown: it may repeat what it found.
const REASON_CHARS_MAX: usize = 200;

/// Reads the header of a whole safetensors file in `bytes`. Ranges are positions in `bytes`, in file order, without
/// holes or overlaps up to its end. `path` is for messages alone.
pub fn read_header(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>> {
    let bad = |finding: String| Error::bad_input(path, finding, "the file is damaged or incomplete: fetch it again");
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(bad(format!("has {} bytes, but a safetensors header alone needs {LENGTH_BYTES}", bytes.len())));
    };
    let header_len = u64::from_le_bytes(*length);
    let mapped =
        usize::try_from(header_len).ok().filter(|&len| len <= HEADER_BYTES_MAX).and_then(|len| rest.get(..len));
    let Some(mapped) = mapped else {
        return Err(bad(format!("promises a header of {header_len} bytes, but {} bytes follow", rest.len())));
    };
    // The parser aborts where it cannot allocate: names are held three times, the rest by the tensor.
    let tensors_max = TENSORS_MAX.min(mapped.len() / TENSOR_JSON_BYTES_MIN);
    memory::check_room((4 * mapped.len() + tensors_max * TENSOR_BYTES) as u64)
        .map_err(|lack| Error::out_of_memory(path, lack))?;
    // A copy, since the file may be a map whose bytes another process changes: names are checked, then kept.
    let header = mapped.to_vec();
    let metadata = parse(&header).map_err(|error| {
        let reason: String = error.to_string().chars().take(REASON_CHARS_MAX).collect();
        bad(format!("its safetensors header cannot be read: {reason}"))
    })?;
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
        let dtype = dtype_of(info.dtype);
        let shape = info.shape.clone();
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

/// Parses a header. The crate's own parser keeps every JSON value on the way, at 32 bytes for two of the file.
fn parse(header: &[u8]) -> serde_json::Result<Metadata> {
    let Tensors(mut tensors) = serde_json::from_slice(header)?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    Metadata::new(None, tensors).map_err(serde_json::Error::custom)
}

/// Every tensor that a header describes, each name once.
struct Tensors(Vec<(String, TensorInfo)>);

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Vec<(String, TensorInfo)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tensors = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let Described { dtype: Kind(dtype), shape: Shape(shape), data_offsets } = map.next_value()?;
                    tensors.push((name, TensorInfo { dtype, shape, data_offsets }));
                    if tensors.len() > TENSORS_MAX {
                        return Err(A::Error::custom(format!("it names more than {TENSORS_MAX} tensors")));
                    }
                }
                Ok(tensors)
            }
        }
        let tensors = deserializer.deserialize_map(Names)?;
        let mut seen = HashSet::with_capacity(tensors.len());
        match tensors.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            Some((name, _)) => Err(D::Error::custom(format!("it names {name:?} twice"))),
            None => Ok(Self(tensors)),
        }
    }
}

/// What the header says about one tensor.
#[derive(serde::Deserialize)]
struct Described {
    dtype: Kind,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// An element type, of which the parser's own message would repeat any text.
struct Kind(Dtype);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Dtype;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of an element type")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Dtype, E> {
                if name.len() > KIND_CHARS_MAX {
                    return Err(E::custom(format!("a tensor's type has a name of {} bytes", name.len())));
                }
                Dtype::deserialize(name.into_deserializer())
            }
        }
        deserializer.deserialize_str(Name).map(Self)
    }
}

/// A shape of at most [`RANK_MAX`] dimensions.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Vec<usize>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {RANK_MAX} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = seq.next_element()? {
                    if shape.len() == RANK_MAX {
                        return Err(A::Error::custom(format!("a tensor has more than {RANK_MAX} dimensions")));
                    }
                    shape.push(dimension);
                }
                Ok(shape)
            }
        }
        deserializer.deserialize_seq(Dimensions).map(Self)
    }
}
