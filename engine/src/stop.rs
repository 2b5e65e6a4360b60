//! Texts that end an answer.

/// Text on its way to the caller, which ends before the first of some texts.
#[derive(Default)]
pub(crate) struct StopTexts {
    stops: Vec<String>,
    /// Text that may be the beginning of one.
    held: String,
}

impl StopTexts {
    /// None of the texts is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes text; gives what is certain of it, and whether a text that stops the answer follows.
    pub fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let kept = self.held.len() - self.beginning();
        let held = self.held.split_off(kept);
        (std::mem::replace(&mut self.held, held), false)
    }

    /// What was held back and is text after all.
    pub fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// How many bytes at the end begin one of the texts; the most, if there are several.
    fn beginning(&self) -> usize {
        let begins = |stop: &String| {
            let longest = self.held.len().min(stop.len() - 1);
            (1..=longest).rev().find(|&bytes| self.held.as_bytes().ends_with(&stop.as_bytes()[..bytes]))
        };
        // A beginning that ends within a character of the stop cannot end the text, which is whole characters.
        self.stops.iter().filter_map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces through the filter: what came out, and whether it was stopped.
    fn run(stops: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut filter = StopTexts::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
        let mut out = String::new();
        for piece in pieces {
            let (text, stopped) = filter.push(piece);
            out.push_str(&text);
            if stopped {
                return (out, true);
            }
        }
        (out + &filter.flush(), false)
    }

    #[test]
    fn text_ends_before_the_first_stop_however_it_is_cut() {
        for pieces in [vec!["The lung. End of"], vec!["The lu", "ng.", " E", "nd", " of"], vec!["The lung", ". End of"]]
        {
            assert_eq!(run(&[". End"], &pieces), ("The lung".into(), true));
            assert_eq!(run(&["End", "lung"], &pieces), ("The ".into(), true), "the first in the text, not in the list");
            assert_eq!(run(&["ends", "of the"], &pieces), ("The lung. End of".into(), false));
            assert_eq!(run(&[], &pieces), ("The lung. End of".into(), false));
        }
    }

    #[test]
    fn beginnings_that_overlap_and_characters_of_several_bytes() {
        assert_eq!(run(&["aab"], &["a", "a", "a", "b"]), ("a".into(), true));
        assert_eq!(run(&["éa", "éé"], &["xé", "é"]), ("x".into(), true));
        assert_eq!(run(&["é"], &["è", "e"]), ("èe".into(), false), "the same first byte");
        assert_eq!(run(&["a"], &["", "b", "a"]), ("b".into(), true));
    }

    /// What comes out is never more than what is certain, and no byte is lost.
    #[test]
    fn nothing_is_sent_too_early() {
        let mut filter = StopTexts::new(vec!["stop".into()]);
        assert_eq!(filter.push("a sto"), ("a ".into(), false));
        assert_eq!(filter.push("ne st"), ("stone ".into(), false));
        assert_eq!(filter.push("op"), (String::new(), true));
        assert_eq!(filter.flush(), "");
    }
}
