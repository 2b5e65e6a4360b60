//! Readers of weights: single files, and the index of several.
use super::{Seed, case_folder, seeds, write};
use med2e3_loaders::tensor::{DType, Data, Entry};
use med2e3_loaders::{Checkpoint, safetensors, torch_zip};
use rawzip::ZipArchive;
use std::path::Path;

pub(super) fn read_safetensors(bytes: &[u8]) -> Result<(), String> {
    let entries = safetensors::read_header(Path::new("model.safetensors"), bytes);
    entries.map(|entries| check(&entries, bytes)).map_err(|error| error.to_string())
}

pub(super) fn read_torch_zip(bytes: &[u8]) -> Result<(), String> {
    let entries = torch_zip::read_table(Path::new("pytorch_model.bin"), bytes);
    entries.map(|entries| check(&entries, bytes)).map_err(|error| error.to_string())
}

/// Every tensor lies within the file and holds what its shape says.
fn check(entries: &[Entry], file: &[u8]) {
    for Entry { name, dtype, shape, data } in entries {
        let held = match data {
            Data::InFile(range) => file.get(range.clone()).map(<[u8]>::len),
            Data::Gathered(bytes) => Some(bytes.len()),
        };
        let held = held.unwrap_or_else(|| panic!("{name:?} lies outside the file: {data:?}"));
        if let Ok(dtype) = dtype {
            assert_eq!(dtype.bytes_of(shape), Some(held), "{name:?} of shape {shape:?}");
        }
    }
}

/// A `torch.save` file with another pickle beside the storages of `file`.
///
/// # Panics
/// If `file` is of another kind.
pub fn with_pickle(file: &[u8]) -> Seed {
    let archive = ZipArchive::from_slice(file).expect("a zip archive");
    let mut entries = Vec::new();
    let mut directory = archive.entries();
    while let Some(header) = directory.next_entry().expect("a sound directory") {
        let name = std::str::from_utf8(header.file_path().as_ref()).expect("a name").to_owned();
        let range = archive.get_entry(header.wayfinder()).expect("a sound entry").compressed_data_range();
        entries.push((name, file[range.0 as usize..range.1 as usize].to_vec()));
    }
    let place = entries.iter().position(|(name, _)| name.ends_with("/data.pkl")).expect("a pickle");
    let pickle = entries[place].1.clone();
    Seed::part(pickle, move |pickle| {
        let mut entries = entries.clone();
        entries[place].1 = pickle;
        seeds::zip(&entries)
    })
}

/// Two shards of one tensor each.
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

fn shard(tensor: &str) -> Vec<u8> {
    let header = format!("{{\"{tensor}\":{{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}}}");
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), &[0x3c; 8]].concat()
}

pub(super) fn index_seeds() -> Vec<Seed> {
    let map = format!("\"weight_map\": {{\"a.weight\": \"{}\", \"b.base_layer.bias\": \"{}\"}}", SHARDS[0], SHARDS[1]);
    let whole = format!("{{\"metadata\": {{\"total_size\": 16}}, {map}}}");
    [whole, format!("{{{map}}}"), "{\"weight_map\":{}}".to_owned()].map(|text| Seed::whole(text.into_bytes())).into()
}

/// The bytes are the index of a folder with two sound shards.
pub(super) fn read_index(bytes: &[u8]) -> Result<(), String> {
    let folder = case_folder();
    write(folder.path().join("model.safetensors.index.json"), bytes);
    write(folder.path().join(SHARDS[0]), shard("a.weight"));
    write(folder.path().join(SHARDS[1]), shard("b.base_layer.bias"));
    let checkpoint = Checkpoint::open(folder.path()).map_err(|error| error.to_string())?;
    for (name, tensor) in checkpoint.iter() {
        assert!(["a.weight", "b.bias"].contains(&name), "{name}");
        assert_eq!((tensor.dtype, tensor.shape.as_slice(), tensor.bytes()), (DType::F32, &[2][..], &[0x3c; 8][..]));
    }
    Ok(())
}
