//! Rules about code: function length, headers, `unsafe`, prints. They rely on rustfmt's layout, which CI checks first.
use super::{File, Tree};

const FUNCTION_LINES_MAX: usize = 70;
const KERNEL_LINES_MAX: usize = 150;
/// Where `unsafe` may stand.
const UNSAFE_HOMES: &[&str] = &["kernels/", "loaders/src/mmap.rs"];
/// Crates that others link: they return what they have to say.
const LIBRARIES: &[&str] = &["kernels/", "loaders/", "engine/"];
const PRINTS: &[&str] = &["println!", "eprintln!", "print!", "eprint!"];

fn rust(tree: &Tree) -> impl Iterator<Item = &File> {
    tree.files.iter().filter(|file| file.is(&["rs"]))
}

pub(super) fn function_length(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in &tree.files {
        let (starts, lines_max): (fn(&str) -> bool, usize) = match () {
            () if file.is(&["rs"]) => (starts_rust_function, FUNCTION_LINES_MAX),
            () if file.is(&["cu", "cuh", "cpp", "h"]) => (starts_c_function, KERNEL_LINES_MAX),
            () => continue,
        };
        let lines: Vec<&str> = file.lines().map(|(_, line)| line).collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| starts(line)) {
            let length = function_lines(&lines[index..]);
            if length > lines_max {
                found.push(file.at(index + 1, format!("{length} lines, at most {lines_max}: `{}`", line.trim())));
            }
        }
    }
    found
}

fn starts_rust_function(line: &str) -> bool {
    let code = line.trim_start();
    let before = code.split("fn ").next().unwrap_or_default();
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "extern", "\"C\"", "default"];
    code.len() > before.len() && before.split_whitespace().all(|word| qualifiers.contains(&word))
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

pub(super) fn unsafe_code(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for file in rust(tree) {
        let lines: Vec<&str> = file.lines().map(|(_, line)| line).collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| has_word(&code(line), "unsafe")) {
            if !UNSAFE_HOMES.iter().any(|home| file.path.starts_with(home)) {
                found.push(file.at(index + 1, format!("`unsafe` outside {}", UNSAFE_HOMES.join(", "))));
            } else if !is_contract(line) && !is_argued(&lines[..=index], line) {
                found.push(file.at(index + 1, "`unsafe` without a SAFETY note"));
            }
        }
    }
    found
}

/// Whether `unsafe` demands a promise of callers here, or marks an exported name; the block or `impl` that gives the
/// promise is what must be argued.
fn is_contract(line: &str) -> bool {
    let code = code(line);
    ["unsafe fn ", "unsafe trait ", "unsafe extern ", "#[unsafe("].iter().any(|contract| code.contains(contract))
}

/// Whether the statement that ends with `line`, or the comment right above it, holds a safety note.
fn is_argued(lines: &[&str], line: &str) -> bool {
    let is_note = |line: &&str| line.contains("SAFETY:");
    let mut above = lines[..lines.len() - 1].iter().rev().take_while(|line| {
        let trimmed = line.trim();
        let ends_statement = trimmed.is_empty() || trimmed.ends_with([';', '{', '}']);
        trimmed.starts_with("//") || trimmed.starts_with("#[") || !ends_statement
    });
    is_note(&line) || above.any(is_note)
}

pub(super) fn prints(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    let is_library = |file: &&File| LIBRARIES.iter().any(|home| file.path.starts_with(home));
    // The stand-in for the driver is for tests only.
    let is_test = |file: &File| {
        file.path.ends_with("/tests.rs") || file.path.contains("/tests/") || file.path.starts_with("kernels/fake-cuda/")
    };
    // Cargo reads what a build script prints.
    let is_build = |file: &File| file.path.ends_with("/build.rs") || file.path.contains("/build/");
    for file in rust(tree).filter(is_library).filter(|file| !is_test(file) && !is_build(file)) {
        // Tests stand last in a file.
        for (number, line) in file.lines().take_while(|(_, line)| line.trim() != "mod tests {") {
            if let Some(print) = PRINTS.iter().find(|print| has_word(&code(line), print)) {
                found.push(file.at(number, format!("`{print}` in a library: return it to the caller")));
            }
        }
    }
    found
}

/// A line without its comment and without the insides of its string literals.
fn code(line: &str) -> String {
    let mut out = String::new();
    let mut letters = line.chars().peekable();
    let mut in_string = false;
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if in_string => drop(letters.next()),
            '"' if out.ends_with('\'') && letters.peek() == Some(&'\'') => {}
            '"' => in_string = !in_string,
            _ if in_string => {}
            '/' if letters.peek() == Some(&'/') => break,
            _ => out.push(letter),
        }
    }
    out
}

fn has_word(code: &str, word: &str) -> bool {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(is_name)
            && !code[at + word.len()..].chars().next().is_some_and(is_name)
    })
}
