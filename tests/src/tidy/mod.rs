//! The house rules that a program can check, as functions from a tree of files to findings.
//!
//! A rule never reads the disk, so that a test can show it a planted file and see it fail.
mod manifests;
mod ops;
pub mod ratchets;
mod rust;
mod text;

use std::path::Path;
use std::process::Command;

/// One tracked file.
#[derive(Debug, Clone)]
pub struct File {
    /// Path from the repository root, with `/`.
    pub path: String,
    /// Size on disk.
    pub bytes: u64,
    /// The content, where it is UTF-8.
    pub text: Option<String>,
}

impl File {
    /// A text file.
    pub fn text(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), bytes: text.len() as u64, text: Some(text.to_owned()) }
    }

    /// Whether the name ends in one of these extensions.
    fn is(&self, extensions: &[&str]) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted))
    }

    /// The content's lines with their numbers, counted from 1; none for a binary file.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.as_deref().unwrap_or_default().lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// A finding about one line.
    fn at(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

/// The tracked files of a repository.
#[derive(Debug, Default)]
pub struct Tree {
    /// In path order.
    pub files: Vec<File>,
}

impl Tree {
    /// Every file that git tracks or would track under `root`.
    ///
    /// # Panics
    /// If `root` is not a git checkout: without git nobody knows which files are ours.
    pub fn read(root: &Path) -> Self {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .expect("the tidy test asks git which files to check: install git");
        assert!(listing.status.success(), "the tidy test needs a git checkout at {}", root.display());
        let listing = String::from_utf8(listing.stdout).expect("tracked paths are UTF-8");
        let mut paths: Vec<&str> = listing.split('\0').filter(|path| !path.is_empty()).collect();
        paths.sort_unstable();
        paths.dedup();
        // A file that was deleted but not yet committed is still listed.
        let files = paths.into_iter().filter_map(|path| {
            let content = std::fs::read(root.join(path)).ok()?;
            let bytes = content.len() as u64;
            Some(File { path: path.to_owned(), bytes, text: String::from_utf8(content).ok() })
        });
        Self { files: files.collect() }
    }

    fn find(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether a tracked file or a folder of tracked files has this path.
    fn holds(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

/// A house rule.
pub struct Rule {
    /// What a finding is filed under.
    pub name: &'static str,
    /// Everything in the tree that breaks the rule.
    pub check: fn(&Tree) -> Vec<String>,
}

/// All rules.
pub const RULES: &[Rule] = &[
    Rule { name: "file length", check: text::file_length },
    Rule { name: "line length", check: text::line_length },
    Rule { name: "file size", check: text::file_size },
    Rule { name: "left-overs", check: text::left_overs },
    Rule { name: "machine paths", check: text::machine_paths },
    Rule { name: "links", check: text::links },
    Rule { name: "function length", check: rust::function_length },
    Rule { name: "header", check: rust::header },
    Rule { name: "ratchets", check: ratchets::habits },
    Rule { name: "unsafe", check: rust::unsafe_code },
    Rule { name: "crate directions", check: manifests::directions },
    Rule { name: "lints", check: manifests::lints },
    Rule { name: "requirements", check: manifests::requirements },
    Rule { name: "op folders", check: ops::folders },
];
