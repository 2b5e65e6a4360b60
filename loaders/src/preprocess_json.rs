//! `preprocess.json`: how scans are prepared for the model that lies in the same folder.

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::files;
use crate::volume::Window;

/// Its name in the model's folder.
pub const PREPROCESS_JSON: &str = "preprocess.json";

/// Longest file read; `{"window": [-200, 300]}` has 23 bytes.
const BYTES_MAX: u64 = 4096;

/// What the file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    window: [f64; 2],
}

/// The window that the model in `folder` was trained with, where its folder says so.
///
/// # Errors
/// The file cannot be read, or those of [`parse`].
pub fn read(folder: &Path) -> Result<Option<Window>> {
    let path = folder.join(PREPROCESS_JSON);
    // A link that leads nowhere is there all the same, and is reported.
    if path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    parse(&path, &files::read(&path, BYTES_MAX)?).map(Some)
}

/// Parses the bytes of the file at `path`: `{"window": [LO, HI]}`, in Hounsfield units.
///
/// # Errors
/// They are not that: other keys, other types, numbers that do not rise or are not finite.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Window> {
    const REMEDY: &str = "write it as {\"window\": [-200, 300]}, or remove it";
    let content: Content = serde_json::from_slice(bytes)
        .map_err(|error| Error::bad_input(path, format!("does not hold a window alone ({error})"), REMEDY))?;
    let [lo, hi] = content.window;
    Window::new(lo as f32, hi as f32).ok_or_else(|| {
        let finding = format!("has the window [{lo}, {hi}], wanted two finite numbers, the smaller one first");
        Error::bad_input(path, finding, REMEDY)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_two_rising_numbers_and_nothing_else() {
        let parse = |text: &str| parse(Path::new("m/preprocess.json"), text.as_bytes());
        assert_eq!(Some(parse("{\"window\": [-200, 300]}").unwrap()), Window::new(-200.0, 300.0));
        assert_eq!(Some(parse(" {\"window\":[-0.5,1e3]}\n").unwrap()), Window::new(-0.5, 1000.0));
        let broken = [
            "",
            "[-200, 300]",
            "{}",
            "{\"window\": null}",
            "{\"window\": [300, -200]}",
            "{\"window\": [5, 5]}",
            // Apart as f64, the same as f32.
            "{\"window\": [100000000, 100000001]}",
            "{\"window\": [-200]}",
            "{\"window\": [-200, 0, 300]}",
            "{\"window\": [\"-200\", \"300\"]}",
            "{\"window\": [-200, NaN]}",
            "{\"window\": [-200, 1e39]}",
            "{\"window\": [-200, 1e999]}",
            "{\"window\": [-200, 300], \"size\": 3}",
            "{\"window\": [-200, 300], \"window\": [0, 1]}",
            "{\"window\": [-200, 300]} x",
            "{\"window\": [-200, 300]",
        ];
        for text in broken {
            let sentence = parse(text).expect_err(text).to_string();
            assert!(sentence.starts_with("m/preprocess.json: ") && !sentence.contains('\n'), "{sentence}");
            assert!(sentence.contains("; write it as {\"window\": [-200, 300]}"), "{sentence}");
        }
    }
}
