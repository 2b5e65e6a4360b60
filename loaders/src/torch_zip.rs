//! Reads a `torch.save` file: a zip of uncompressed storages beside a pickle that names the tensors in them.
//!
//! Nothing is executed (see `pickle`), and of tensors nothing is copied except those whose elements are not stored in
//! row-major order. Every size is compared with the bytes at hand before it is used. Names and the pickle are copied
//! before they are checked: the file may be a map whose bytes another process changes.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use rawzip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};
use crate::pickle::{self, TensorRecord};
use crate::tensor::{DType, Data, Entry};

/// Longest pickle read; 400 tensors take 60 KB.
const PICKLE_BYTES_MAX: usize = 4 << 20;
const RESAVE: &str = "fetch it again if it is incomplete, or save it again with torch.save of PyTorch 1.6 or later";
/// What helps where the file is whole but holds more than tensors.
const SAVE_STATE: &str = "fetch it again if it is incomplete, or save the model's state_dict() alone with torch.save";

/// Reads the table of a whole `torch.save` file in `bytes`. `path` is for messages alone.
pub fn read_table(path: &Path, bytes: &[u8]) -> Result<Vec<Entry>> {
    let bad = |finding: String| Error::bad_input(path, finding, RESAVE);
    if bytes.first() == Some(&0x80) {
        return Err(bad("is in torch.save's format of before version 1.6, a bare pickle instead of a zip".into()));
    }
    let archive = Archive::open(bytes).map_err(bad)?;
    let pickle = archive.checked("data.pkl", PICKLE_BYTES_MAX).map_err(bad)?;
    if let Some(byteorder) = archive.entries.get("byteorder") {
        let order = &bytes[byteorder.range.clone()];
        if order != b"little" {
            let order = String::from_utf8_lossy(&order[..order.len().min(16)]).into_owned();
            return Err(bad(format!("stores its numbers in byte order {order:?}, but only \"little\" is read")));
        }
    }
    let other = |finding| Error::bad_input(path, format!("its data.pkl {finding}"), SAVE_STATE);
    let records = pickle::read_state_dict(&pickle).map_err(other)?;
    let mut gather_budget = bytes.len();
    let mut entries = Vec::with_capacity(records.len());
    for record in records {
        let name = record.name.to_string();
        let entry = archive.tensor(&record, &mut gather_budget);
        entries.push(entry.map_err(|finding| bad(format!("its tensor {name:?} {finding}")))?);
    }
    Ok(entries)
}

/// A stored zip entry: its bytes' positions in the file, and the checksum that the directory gives for them.
struct Stored {
    range: Range<usize>,
    crc32: u32,
}

struct Archive<'a> {
    bytes: &'a [u8],
    /// By name without the common first folder.
    entries: HashMap<String, Stored>,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, String> {
        let zip = |e: rawzip::Error| format!("is not a complete zip archive ({e})");
        let archive = ZipArchive::from_slice(bytes).map_err(zip)?;
        let mut entries = HashMap::new();
        let mut ranges = Vec::new();
        let mut prefix: Option<String> = None;
        let mut directory = archive.entries();
        while let Some(header) = directory.next_entry().map_err(zip)? {
            let raw = header.file_path();
            let full =
                String::from_utf8(raw.as_ref().to_vec()).map_err(|_| "has a zip entry without a readable name")?;
            let outside = || format!("has zip entry {full:?} outside a folder");
            let (folder, name) = full.split_once('/').ok_or_else(outside)?;
            if *prefix.get_or_insert_with(|| folder.to_string()) != folder {
                return Err(format!(
                    "has zip entries in several folders, {:?} and {folder:?}",
                    prefix.unwrap_or_default()
                ));
            }
            if header.compression_method() != CompressionMethod::STORE || header.flags().is_encrypted() {
                return Err(format!("has zip entry {full:?} compressed or encrypted, which torch.save never writes"));
            }
            let (start, end) = archive.get_entry(header.wayfinder()).map_err(zip)?.compressed_data_range();
            if end - start != header.uncompressed_size_hint() {
                return Err(format!("has zip entry {full:?} with two different sizes"));
            }
            let range = start as usize..end as usize;
            ranges.push(range.clone());
            if entries.insert(name.to_string(), Stored { range, crc32: header.crc32() }).is_some() {
                return Err(format!("has zip entry {full:?} twice"));
            }
        }
        ranges.sort_by_key(|range| range.start);
        if ranges.windows(2).any(|pair| pair[1].start < pair[0].end) {
            return Err("has zip entries that overlap".into());
        }
        Ok(Self { bytes, entries })
    }

    /// A copy of a short entry's bytes, compared with their checksum.
    fn checked(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
        let entry = self.entries.get(name).ok_or_else(|| format!("is a zip archive without {name}"))?;
        let bytes = &self.bytes[entry.range.clone()];
        if bytes.len() > bytes_max {
            return Err(format!("has a {name} of {} bytes, but at most {bytes_max} are read", bytes.len()));
        }
        let bytes = bytes.to_vec();
        if rawzip::crc32(&bytes) != entry.crc32 {
            return Err(format!("has a {name} that differs from its checksum"));
        }
        Ok(bytes)
    }

    fn tensor(&self, record: &TensorRecord, gather_budget: &mut usize) -> Result<Entry, String> {
        let (dtype, size) = element(record.storage.class)?;
        let key = format!("data/{}", record.storage.key);
        let storage =
            &self.entries.get(&key).ok_or_else(|| format!("refers to zip entry {key:?}, which is missing"))?.range;
        let promised = record.storage.elements;
        if promised.checked_mul(size as u64) != Some(storage.len() as u64) {
            return Err(format!("has a storage of {promised} elements of {size} bytes in {} bytes", storage.len()));
        }
        let outside = || format!("of shape {:?} reaches beyond its storage of {promised} elements", record.shape);
        let elements = record.shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim)).ok_or_else(outside)?;
        if record.stride.len() != record.shape.len() {
            return Err(format!("has {} dimensions but {} strides", record.shape.len(), record.stride.len()));
        }
        if elements > promised || (elements > 0 && last_element(record).is_none_or(|last| last >= promised)) {
            return Err(outside());
        }
        // `elements` is at most the storage's, so every dim fits a usize unless another one is zero.
        let shape = record.shape.iter().map(|&dim| usize::try_from(dim)).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| outside())?;
        let bytes = elements as usize * size;
        let data = if elements == 0 {
            Data::InFile(storage.start..storage.start)
        } else if is_row_major(record) {
            let start = storage.start + record.offset as usize * size;
            Data::InFile(start..start + bytes)
        } else {
            *gather_budget =
                gather_budget.checked_sub(bytes).ok_or("shares its storage with too many other layouts")?;
            Data::Gathered(gather(&self.bytes[storage.clone()], record, bytes, size))
        };
        Ok(Entry { name: record.name.to_string(), dtype, shape, data })
    }
}

/// Type and bytes per element of a storage class.
fn element(class: &str) -> Result<(Result<DType, String>, usize), String> {
    Ok(match class {
        "FloatStorage" => (Ok(DType::F32), 4),
        "HalfStorage" => (Ok(DType::F16), 2),
        "BFloat16Storage" => (Ok(DType::Bf16), 2),
        "DoubleStorage" | "LongStorage" | "ComplexFloatStorage" => (Err(class.into()), 8),
        "IntStorage" => (Err(class.into()), 4),
        "ShortStorage" => (Err(class.into()), 2),
        "CharStorage" | "ByteStorage" | "BoolStorage" => (Err(class.into()), 1),
        other => {
            return Err(format!(
                "has elements of class {other:?}; FloatStorage, HalfStorage, BFloat16Storage are read"
            ));
        }
    })
}

/// Position in the storage of the last element of a tensor without empty dimensions.
fn last_element(record: &TensorRecord) -> Option<u64> {
    record
        .shape
        .iter()
        .zip(&record.stride)
        .try_fold(record.offset, |position, (&dim, &stride)| position.checked_add((dim - 1).checked_mul(stride)?))
}

/// Whether the elements of a non-empty tensor lie one after another. A dimension of one may have any stride.
fn is_row_major(record: &TensorRecord) -> bool {
    let mut want = 1;
    record.shape.iter().zip(&record.stride).rev().all(|(&dim, &stride)| {
        let fits = dim == 1 || stride == want;
        want *= dim;
        fits
    })
}

/// Copies a strided tensor, already checked against its storage, into row-major order.
fn gather(storage: &[u8], record: &TensorRecord, bytes: usize, size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    let mut index = vec![0u64; record.shape.len()];
    while out.len() < bytes {
        let steps: u64 = index.iter().zip(&record.stride).map(|(&i, &stride)| i * stride).sum();
        let start = (record.offset + steps) as usize * size;
        out.extend_from_slice(&storage[start..start + size]);
        for (i, &dim) in index.iter_mut().zip(&record.shape).rev() {
            *i += 1;
            if *i < dim {
                break;
            }
            *i = 0;
        }
    }
    out
}
