//! What the volume tests share: the data folder, and the box of golden numbers.

use std::path::PathBuf;

/// The shared data folder, or one line that says that the test did not run.
pub fn shared_data() -> Option<PathBuf> {
    let fallback = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let folder = std::env::var_os("MED2E3_SHARED_DATA").map_or_else(|| PathBuf::from(fallback), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("not run: shared data folder absent (set MED2E3_SHARED_DATA)");
    None
}

/// The JSON file `name` of the data folder.
pub fn golden(name: &str) -> Option<(PathBuf, serde_json::Value)> {
    let folder = shared_data()?;
    let text = std::fs::read_to_string(folder.join(name)).expect("the golden file is in the folder");
    Some((folder, serde_json::from_str(&text).expect("the golden file is JSON")))
}
