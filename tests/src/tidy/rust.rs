//! Rules about code that no lint knows: how long kernels' functions are, headers, and where `unsafe` may be allowed.
use super::{File, Tree};

const KERNEL_LINES_MAX: usize = 150;
/// Where `unsafe` may be allowed.
const UNSAFE_HOMES: &[&str] = &["kernels/", "loaders/src/mmap.rs"];

fn rust(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.is(&["rs"]))
}

/// Functions of kernels; those in Rust are clippy's.
pub(super) fn function_length(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in tree.files.iter().filter(|file| file.is(&["cu", "cuh", "cpp", "h"])) {
        let lines: Vec<&str> = file.lines().map(|(_, line)| line).collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| starts_c_function(line)) {
            let length = function_lines(&lines[index..]);
            if length > KERNEL_LINES_MAX {
                let name = line.trim();
                found.push(file.at(index + 1, format!("{length} lines, at most {KERNEL_LINES_MAX}: `{name}`")));
            }
        }
    }
    found
}

/// A definition at the left margin: a name, an opening bracket and no semicolon.
fn starts_c_function(line: &str) -> bool {
    line.starts_with(|first: char| first.is_alphabetic() || first == '_')
        && line.contains('(')
        && !line.trim_end().ends_with(';')
}

/// Lines from a function's first to the bracket that closes it at the same indent.
fn function_lines(lines: &[&str]) -> usize {
    let indent = lines[0].len() - lines[0].trim_start().len();
    let closes = |line: &&str| {
        line.len() > indent && line.is_char_boundary(indent) && {
            let (margin, code) = line.split_at(indent);
            margin.trim().is_empty() && code.starts_with('}')
        }
    };
    let Some(body) = lines.iter().position(|line| line.trim_end().ends_with(['{', ';', '}'])) else { return 1 };
    if !lines[body].trim_end().ends_with('{') {
        return body + 1;
    }
    lines.iter().skip(body + 1).position(closes).map_or(lines.len(), |end| body + end + 2)
}

pub(super) fn header(tree: &Tree) -> Vec<String> {
    let bare = rust(tree).filter(|file| !file.lines().next().is_some_and(|(_, line)| line.starts_with("//! ")));
    bare.map(|file| file.at(1, "a file starts with one `//!` sentence that says what it is")).collect()
}

/// The compiler denies `unsafe` where it is not allowed, and clippy wants each block argued; this says where it may be.
pub(super) fn unsafe_code(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(tree).filter(|file| !UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home))) {
        for (number, _) in file.lines().filter(|(_, line)| line.contains(concat!("allow(", "unsafe_code"))) {
            found.push(file.at(number, format!("allows `unsafe` outside {}", UNSAFE_HOMES.join(", "))));
        }
    }
    found
}
