//! How much room there is on the disk.

use std::path::Path;

/// Bytes that we may still write to the disk of `path`; absent where the system does not say.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_of_a_missing_path_is_unknown() {
        assert_eq!(free_bytes(Path::new("/nonexistent/folder")), None);
        assert!(free_bytes(Path::new(".")).is_some());
    }
}
