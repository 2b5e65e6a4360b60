//! Habits that are being given up: how often each still stands in the code is written down and may only fall.
use super::{File, Tree};

/// A habit, by a line that shows it.
struct Ratchet {
    habit: &'static str,
    /// How many lines of Rust still show it.
    lines: usize,
    shows: fn(&str) -> bool,
}

const RATCHETS: &[Ratchet] = &[
    Ratchet {
        habit: "lines bind several names with `let (`; bind one name at a time",
        lines: LET_TUPLE_LINES,
        shows: |line| line.trim_start().starts_with("let ("),
    },
    Ratchet {
        habit: "lines bind several names with `let [`; bind one name at a time",
        lines: LET_ARRAY_LINES,
        shows: |line| line.trim_start().starts_with("let ["),
    },
    Ratchet {
        habit: "lines take an array whose elements have names of their own; take a struct or one argument each",
        lines: ARRAY_ARGUMENT_LINES,
        shows: takes_array_apart,
    },
];

/// Lines that begin with `let (`.
pub const LET_TUPLE_LINES: usize = 344;
/// Lines that begin with `let [`.
pub const LET_ARRAY_LINES: usize = 248;
/// Lines with an argument such as `[rows, columns]` that is an array of two.
pub const ARRAY_ARGUMENT_LINES: usize = 53;

pub(super) fn habits(tree: &Tree) -> Vec<String> {
    RATCHETS.iter().filter_map(|ratchet| ratchet.finding(tree)).collect()
}

impl Ratchet {
    /// More lines than were written down are a finding; so are fewer, because the number that stands must hold.
    fn finding(&self, tree: &Tree) -> Option<String> {
        let rust: Vec<&File> = tree.files.iter().filter(|file| file.is(&["rs"])).collect();
        let found = rust.iter().flat_map(|file| file.lines()).filter(|(_, line)| (self.shows)(line)).count();
        let Self { habit, lines, .. } = self;
        match found.cmp(lines) {
            std::cmp::Ordering::Greater => Some(format!("{found} {habit}; {lines} are left from before")),
            std::cmp::Ordering::Less => Some(format!("{found} {habit}; write {found} where ratchets.rs has {lines}")),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// Whether the line has an argument such as `[rows, columns]` with the type of an array.
fn takes_array_apart(line: &str) -> bool {
    let is_name = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    line.match_indices("]: [").any(|(end, _)| {
        let names = line[..end].rsplit_once('[').map_or("", |(_, names)| names);
        names.contains(", ") && names.split(", ").all(is_name)
    })
}
