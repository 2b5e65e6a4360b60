//! Names of files in a note.

use std::path::Path;

/// Most names in one list.
const NAMES_MAX: usize = 8;

/// The name of a file without its folders.
pub(crate) fn name_of(path: impl AsRef<Path>) -> String {
    path.as_ref().file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first of `names` in a list, and how many more there are.
pub(crate) fn listed(names: &[String]) -> String {
    let list = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{list} and {more} more"),
        _ => list,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        let names: Vec<String> = (0..10).map(|number| name_of(format!("folder/{number}.dcm"))).collect();
        assert_eq!(listed(&names[..2]), "0.dcm, 1.dcm");
        assert_eq!(listed(&names[..8]), names[..8].join(", "));
        assert!(listed(&names).ends_with("6.dcm, 7.dcm and 2 more"));
    }
}
