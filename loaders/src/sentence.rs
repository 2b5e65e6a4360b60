//! One sentence for a person: on one line, of bounded length, with nothing in it that a terminal obeys.
//!
//! Findings quote files and paths, which anyone may have written: a name may hold a line break, colours or marks that
//! turn the direction of text, and a value may have megabytes.

/// Longest sentence, in characters: six lines of a wide terminal.
pub const SENTENCE_CHARS_MAX: usize = 700;
/// What is kept of the end of a longer one: a remedy stands there.
const END_CHARS: usize = 240;

/// `text` as one sentence of at most [`SENTENCE_CHARS_MAX`] characters. Line breaks, control characters and marks of
/// direction are written as Rust escapes (`\n`, `\u{1b}`), blanks at the end are dropped, and a longer text loses its
/// middle to `…`.
pub fn sentence(text: &str) -> String {
    let shown = escaped(text.trim_end());
    let length = shown.chars().count();
    if length <= SENTENCE_CHARS_MAX {
        return shown;
    }
    let start: String = shown.chars().take(SENTENCE_CHARS_MAX - END_CHARS - 1).collect();
    let end: String = shown.chars().skip(length - END_CHARS).collect();
    format!("{start}…{end}")
}

/// `text` of any length, with what a terminal obeys as Rust escapes.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_obeyed(letter) {
            out.extend(letter.escape_debug());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Control characters, line and paragraph separators, and Unicode's marks of direction (UAX 9).
fn is_obeyed(letter: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].contains(&letter)
        || ('\u{2028}'..='\u{202e}').contains(&letter)
        || ('\u{2066}'..='\u{2069}').contains(&letter);
    letter.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_shown_instead() {
        let bytes = "a\nb\r\u{1b}[31m\u{9b}\u{7f}\0\u{202e}\u{2066}\u{2028}é🫁\"\\";
        let want = "a\\nb\\r\\u{1b}[31m\\u{9b}\\u{7f}\\0\\u{202e}\\u{2066}\\u{2028}é🫁\"\\";
        assert_eq!(sentence(bytes), want);
        assert_eq!(sentence("  two blanks stay; line ends go \n\n"), "  two blanks stay; line ends go");
    }

    #[test]
    fn a_long_text_keeps_its_start_and_its_remedy() {
        let exact = "é".repeat(SENTENCE_CHARS_MAX);
        assert_eq!(sentence(&exact), exact);
        let long = format!("a.dcm: has {}; copy it again", "\u{1b}9".repeat(5_000_000));
        let cut = sentence(&long);
        assert_eq!(cut.chars().count(), SENTENCE_CHARS_MAX);
        assert!(cut.starts_with("a.dcm: has \\u{1b}9") && cut.ends_with("; copy it again") && cut.contains('…'));
    }
}
