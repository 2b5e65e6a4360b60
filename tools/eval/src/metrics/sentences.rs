//! Where sentences end: nltk's `sent_tokenize`, which is the Punkt algorithm (Kiss and Strunk 2006) with learned data.
//!
//! Without the data no abbreviation is known, so `approx. 3 cm` is two sentences; everything else is the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::is_space;
use crate::error::{Error, Result};

/// What was learned about a language; empty where nothing was.
#[derive(Debug, Default)]
pub struct Sentences {
    /// Words that end with a full stop, without it.
    abbreviations: HashSet<String>,
    /// A word before a full stop and the word after it, which belong together.
    collocations: HashSet<(String, String)>,
    /// Words that often start a sentence.
    starters: HashSet<String>,
    /// Where a word was seen in capitals or not, as bits.
    contexts: HashMap<String, u32>,
}

/// Bits of a word's contexts: capital or not at the start, inside, or anywhere.
const INSIDE_CAPITAL: u32 = 1 << 2;
const START_SMALL: u32 = 1 << 4;
const ANY_CAPITAL: u32 = 1 << 1 | INSIDE_CAPITAL | 1 << 3;
const ANY_SMALL: u32 = START_SMALL | 1 << 5 | 1 << 6;

impl Sentences {
    /// Reads nltk's `punkt_tab/english` folder.
    ///
    /// # Errors
    /// Where a file of it is missing or is not in nltk's format.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                let shown = path.display();
                Error::input(format!("{shown}: cannot read: {error}; give nltk's folder punkt_tab/english"))
            })
        };
        let lines = |text: String| text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect();
        let pairs = |name: &str| -> Result<Vec<(String, String)>> {
            let wrong = |line: &str| {
                let path = folder.join(name);
                let found = format!("`{line}` is not two columns");
                Error::input(format!("{}: {found}; give nltk's folder punkt_tab/english", path.display()))
            };
            let columns = |line: &str| line.split_once('\t').map(|(a, b)| (a.to_owned(), b.to_owned()));
            let text = read(name)?;
            let lines = text.lines().filter(|line| !line.is_empty());
            lines.map(|line| columns(line).ok_or_else(|| wrong(line))).collect()
        };
        let number = |(word, bits): (String, String)| bits.trim().parse().ok().map(|bits| (word, bits));
        Ok(Self {
            abbreviations: lines(read("abbrev_types.txt")?),
            collocations: pairs("collocations.tab")?.into_iter().collect(),
            starters: lines(read("sent_starters.txt")?),
            contexts: pairs("ortho_context.tab")?.into_iter().filter_map(number).collect(),
        })
    }

    /// The sentences, white space around them left out.
    pub fn split<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let chars: Vec<(usize, char)> = text.char_indices().collect();
        let at = |index: usize| chars.get(index).map_or(text.len(), |&(byte, _)| byte);
        let spans = realign(&chars, self.spans(&chars));
        spans.into_iter().map(|(start, end)| &text[at(start)..at(end)]).filter(|part| !part.is_empty()).collect()
    }

    /// From where to where each sentence runs, in characters.
    fn spans(&self, chars: &[(usize, char)]) -> Vec<(usize, usize)> {
        let mut spans = Vec::new();
        let mut start = 0;
        for candidate in candidates(chars) {
            let context: String = chars[candidate.word..candidate.after].iter().map(|&(_, c)| c).collect();
            if self.breaks(&context) {
                spans.push((start, candidate.mark + 1));
                start = candidate.next.unwrap_or(candidate.mark + 1);
            }
        }
        let end = chars.iter().rposition(|&(_, c)| !is_space(c)).map_or(0, |last| last + 1);
        spans.push((start, end.max(start)));
        spans
    }

    /// Whether a sentence ends inside a context of a word, a mark and what follows.
    fn breaks(&self, context: &str) -> bool {
        let mut tokens: Vec<Token> =
            context.split('\n').flat_map(punkt_words).map(|word| self.first_look(word)).collect();
        for index in 1..tokens.len() {
            let (before, after) = tokens.split_at_mut(index);
            self.second_look(&mut before[index - 1], &after[0]);
        }
        // The last token has nothing after it.
        tokens.len() > 1 && tokens[..tokens.len() - 1].iter().any(|token| token.ends)
    }

    /// Decides by the word alone.
    fn first_look(&self, text: String) -> Token {
        let kind = kind(&text);
        let mut token = Token { text, kind, ends: false, abbreviation: false, ellipsis: false };
        let text = &token.text;
        if [".", "?", "!"].contains(&text.as_str()) {
            token.ends = true;
        } else if text.len() >= 2 && text.chars().all(|c| c == '.') {
            token.ellipsis = true;
        } else if text.ends_with('.') && !text.ends_with("..") {
            let word = text[..text.len() - 1].to_lowercase();
            let last = word.rsplit('-').next().unwrap_or_default();
            let known = self.abbreviations.contains(&word) || self.abbreviations.contains(last);
            (token.abbreviation, token.ends) = (known, !known);
        }
        token
    }

    /// Decides anew about a word with a full stop, by the word after it.
    fn second_look(&self, token: &mut Token, next: &Token) {
        if !token.text.ends_with('.') {
            return;
        }
        let kind = without_stop(&token.kind).to_owned();
        let next_kind = if next.ends { without_stop(&next.kind) } else { &next.kind };
        let initial = AN_INITIAL.is_match(&token.text);
        if self.collocations.contains(&(kind.clone(), next_kind.to_owned())) {
            (token.ends, token.abbreviation) = (false, true);
            return;
        }
        let starts = self.starts_sentence(next, next_kind);
        if (token.abbreviation || token.ellipsis) && !initial {
            let usual = next.is_capital() && self.starters.contains(next_kind);
            if starts == Some(true) || usual {
                token.ends = true;
                return;
            }
        }
        if initial || kind == NUMBER {
            let small_seen = self.contexts.get(next_kind).is_some_and(|bits| bits & ANY_SMALL != 0);
            let name = starts.is_none() && initial && next.is_capital() && !small_seen;
            if starts == Some(false) || name {
                (token.ends, token.abbreviation) = (false, true);
            }
        }
    }

    /// Whether a word starts a sentence by the way it is usually written, if that says anything.
    fn starts_sentence(&self, token: &Token, kind: &str) -> Option<bool> {
        if matches!(token.text.as_str(), ";" | ":" | "," | "." | "!" | "?") {
            return Some(false);
        }
        let seen = self.contexts.get(kind).copied().unwrap_or(0);
        if token.is_capital() && seen & ANY_SMALL != 0 && seen & INSIDE_CAPITAL == 0 {
            return Some(true);
        }
        let small = token.text.starts_with(char::is_lowercase);
        (small && (seen & ANY_CAPITAL != 0 || seen & START_SMALL == 0)).then_some(false)
    }
}

/// What a number is counted as.
const NUMBER: &str = "##number##";

/// What is counted as one.
static A_NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\A-?[.,]?\d[\d,.-]*\z").expect("the pattern is valid"));
/// A letter, or what Python takes for one, and a full stop.
static AN_INITIAL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\A[[\p{L}\p{N}_]--\p{Nd}]\.\z").expect("the pattern is valid"));

/// A word with its marks.
struct Token {
    text: String,
    /// In lower case; numbers are all the same.
    kind: String,
    /// A sentence ends after it.
    ends: bool,
    abbreviation: bool,
    ellipsis: bool,
}

impl Token {
    fn is_capital(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }
}

/// A place where a sentence may end; all are character indices.
struct Candidate {
    /// Start of the word before the mark.
    word: usize,
    /// The mark.
    mark: usize,
    /// Start of the next word, if white space comes first.
    next: Option<usize>,
    /// End of what follows the mark: a closing mark, or the next word.
    after: usize,
}

/// Marks followed by white space and a word, or by a mark that no word holds; of marks in a row only the last.
fn candidates(chars: &[(usize, char)]) -> Vec<Candidate> {
    let char_at = |index: usize| chars.get(index).map(|&(_, c)| c);
    let mut found: Vec<Candidate> = Vec::new();
    // Where the word of the mark before this one lies; the first is empty.
    let mut start = 0;
    let mut stop = 0;
    let mut previous: Option<Candidate> = None;
    for (mark, _) in chars.iter().enumerate().filter(|(_, (_, c))| matches!(c, '.' | '?' | '!')) {
        let (next, after) = match char_at(mark + 1) {
            Some(c) if is_non_word(c) => (None, mark + 2),
            Some(c) if is_space(c) => {
                let run = |from: usize, space: bool| {
                    (from..chars.len()).find(|&i| is_space(chars[i].1) != space).unwrap_or(chars.len())
                };
                let next = run(mark + 1, true);
                if next == chars.len() {
                    continue;
                }
                (Some(next), run(next, false))
            }
            _ => continue,
        };
        // As nltk looks for it: a space in the very first place does not count.
        let space = (stop..mark).rev().find(|&i| matches!(chars[i].1, ' ' | '\t'..='\r')).filter(|&i| i > stop);
        let word = space.map_or(start, |space| space + 1);
        found.extend(previous.take().filter(|_| stop <= word));
        (start, stop) = (word, mark);
        previous = Some(Candidate { word, mark, next, after });
    }
    found.extend(previous);
    found
}

/// Gives closing quotes and brackets to the sentence that they close.
fn realign(chars: &[(usize, char)], spans: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut aligned = Vec::new();
    let mut moved = 0;
    for (index, &(start, end)) in spans.iter().enumerate() {
        let start = start + moved;
        match spans.get(index + 1) {
            None => aligned.push((start.min(end), end)),
            Some(&next) => match closing(chars, next) {
                Some((marks, spaces)) => {
                    aligned.push((start, next.0 + marks));
                    moved = marks + spaces;
                }
                None => {
                    aligned.push((start.min(end), end));
                    moved = 0;
                }
            },
        }
    }
    aligned
}

/// How many closing marks open a span, and how much white space follows them; they must end there, or at a line's end,
/// or before a double dash.
fn closing(chars: &[(usize, char)], (start, end): (usize, usize)) -> Option<(usize, usize)> {
    let span = &chars[start.min(end)..end];
    let marks = span.iter().take_while(|(_, c)| matches!(c, '"' | '\'' | ')' | ']' | '}')).count();
    let rest = &span[marks..];
    let spaces = rest.iter().take_while(|&&(_, c)| is_space(c)).count();
    let dashes = rest.len() >= 2 && rest[0].1 == '-' && rest[1].1 == '-';
    (marks > 0 && (spaces > 0 || rest.is_empty() || dashes)).then_some((marks, spaces))
}

/// Cuts a line into words and marks, full stops left on their words.
fn punkt_words(line: &str) -> Vec<String> {
    let chars: Vec<char> = line.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if is_space(chars[at]) {
            at += 1;
            continue;
        }
        let length = match run_of_marks(&chars[at..]) {
            0 if starts_word(chars[at]) => {
                let ends = |&end: &usize| word_ends(&chars[end..]);
                (at + 1..chars.len()).take_while(|&i| !is_space(chars[i - 1])).find(ends).unwrap_or(chars.len()) - at
            }
            0 => 1,
            marks => marks,
        };
        found.push(chars[at..at + length].iter().collect());
        at += length;
    }
    found
}

/// Two or more dashes or full stops in a row, or full stops with a space between each.
fn run_of_marks(chars: &[char]) -> usize {
    let run = |mark: char| chars.iter().take_while(|&&c| c == mark).count();
    match (run('-'), run('.')) {
        (dashes @ 2.., _) => dashes,
        (_, stops @ 2..) => stops,
        _ => {
            // Pairs of a full stop and a space; one more full stop ends them, the last pair's if there is no other.
            let pairs = chars.chunks(2).take_while(|two| matches!(two, ['.', space] if is_space(*space))).count();
            let closed = if chars.get(2 * pairs) == Some(&'.') { pairs } else { pairs.saturating_sub(1) };
            if closed >= 2 { 2 * closed + 1 } else { 0 }
        }
    }
}

/// Whether a word ends before these characters.
fn word_ends(rest: &[char]) -> bool {
    let mark = |rest: &[char]| match rest.first() {
        None => true,
        Some(&c) => is_space(c) || is_non_word(c) || run_of_marks(rest) > 0,
    };
    mark(rest) || (rest[0] == ',' && mark(&rest[1..]))
}

fn starts_word(c: char) -> bool {
    !"(\"`{[:;&#*@)}]-,".contains(c)
}

/// Marks that no word holds.
fn is_non_word(c: char) -> bool {
    ")\";}]*:@'({[?!".contains(c)
}

fn without_stop(kind: &str) -> &str {
    if kind.len() > 1 { kind.strip_suffix('.').unwrap_or(kind) } else { kind }
}

/// The word in lower case; what looks like a number is [`NUMBER`].
fn kind(text: &str) -> String {
    let lower = text.to_lowercase();
    if A_NUMBER.is_match(&lower) { NUMBER.to_owned() } else { lower }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_marks_and_keep_their_quotes() {
        let split = |text| Sentences::default().split(text);
        assert_eq!(split("No mass. Heart normal."), ["No mass.", "Heart normal."]);
        assert_eq!(split("He said \"stop.\" Then (he left.) Done!"), ["He said \"stop.\"", "Then (he left.)", "Done!"]);
        assert_eq!(split("A 1.5 cm cyst... and more"), ["A 1.5 cm cyst... and more"]);
        assert_eq!(split("Really?! Yes."), ["Really?!", "Yes."]);
        assert_eq!((split(""), split("  ")), (vec![], vec![]));
    }

    #[test]
    fn learned_abbreviations_end_no_sentence() {
        let mut learned = Sentences::default();
        assert_eq!(learned.split("It is approx. 3 cm.").len(), 2);
        learned.abbreviations.insert("approx".into());
        assert_eq!(learned.split("It is approx. 3 cm.").len(), 1);
    }
}
