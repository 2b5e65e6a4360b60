//! Rules about any text file: lengths, sizes, left-overs, paths, links.
use super::{File, Tree};

const SOURCE: &[&str] = &["rs", "py", "sh", "cu", "cuh", "h", "cpp"];
const FILE_LINES_MAX: usize = 500;
const LINE_CHARS_MAX: usize = 120;
const FILE_BYTES_MAX: u64 = 500_000;
/// Folders of binary files, and what each may take in all.
const BUDGETS: [(&str, u64); 3] =
    [("tests/corpus/", 1_000_000), ("tests/data/", 4_000_000), ("tools/research/demo/model/", 12_000_000)];
/// Written by cargo.
const LOCK: &str = "Cargo.lock";

/// Words that mark unfinished work, and tests that do not run; split, so that this file does not hold them. Unfinished
/// code is clippy's: `dbg_macro`, `todo`, `unimplemented`, `assertions_on_constants`.
const LEFT_OVERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("#[", "ignore")];

/// Places that exist on one machine only, and package registries by address.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/tm", "p/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("crates", ".io"),
    concat!("py", "pi.org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npm", "js.org"),
    concat!("deb.debian", ".org"),
];

fn sources(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.is(SOURCE))
}

fn texts(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.text.is_some() && !file.path.ends_with(LOCK))
}

pub(super) fn file_length(tree: &Tree) -> Vec<String> {
    let lengths = sources(tree).map(|file| (file, file.lines().count()));
    let long = lengths.filter(|&(_, lines)| lines > FILE_LINES_MAX);
    long.map(|(file, lines)| format!("{}: {lines} lines, at most {FILE_LINES_MAX}", file.path)).collect()
}

pub(super) fn line_length(tree: &Tree) -> Vec<String> {
    let lines = sources(tree).flat_map(|file| file.lines().map(move |(number, line)| (file, number, line)));
    let lengths = lines.map(|(file, number, line)| (file, number, line.chars().count()));
    let long = lengths.filter(|&(_, _, chars)| chars > LINE_CHARS_MAX);
    long.map(|(file, line, chars)| file.at(line, format!("{chars} characters, at most {LINE_CHARS_MAX}"))).collect()
}

pub(super) fn file_size(tree: &Tree) -> Vec<String> {
    let has_budget = |file: &&File| BUDGETS.iter().any(|(folder, _)| file.path.starts_with(folder));
    let big = tree.files.iter().filter(|file| file.path != LOCK && !has_budget(file) && file.bytes > FILE_BYTES_MAX);
    let mut found: Vec<String> =
        big.map(|file| format!("{}: {} bytes, at most {FILE_BYTES_MAX}", file.path, file.bytes)).collect();
    for (folder, most) in BUDGETS {
        let total: u64 = tree.files.iter().filter(|file| file.path.starts_with(folder)).map(|file| file.bytes).sum();
        if total > most {
            found.push(format!("{folder}: {total} bytes in all, at most {most}"));
        }
    }
    found
}

pub(super) fn left_overs(tree: &Tree) -> Vec<String> {
    banned(tree, LEFT_OVERS)
}

pub(super) fn machine_paths(tree: &Tree) -> Vec<String> {
    banned(tree, MACHINE_PATHS)
}

/// Every place where a banned text stands on its own, not as the end of a longer word or path.
fn banned(tree: &Tree, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in texts(tree) {
        for (number, line) in file.lines() {
            for word in words.iter().filter(|word| stands_alone(line, word)) {
                found.push(file.at(number, format!("`{word}`")));
            }
        }
    }
    found
}

fn stands_alone(line: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends_open = !word.ends_with(char::is_alphanumeric);
        !before.is_some_and(is_name) && (ends_open || !after.is_some_and(|letter| letter.is_alphanumeric()))
    })
}

pub(super) fn links(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| file.is(&["md"])) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = target.split('#').next().unwrap_or_default();
                let elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
                if !elsewhere && !resolve(folder, target).is_some_and(|path| path.is_empty() || tree.holds(&path)) {
                    found.push(file.at(number, format!("the link to `{target}` leads nowhere")));
                }
            }
        }
    }
    found
}

/// The repository path that a link in `folder` points at; `None` outside the repository.
fn resolve(folder: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    Some(parts.join("/"))
}
