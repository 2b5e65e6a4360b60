//! nltk's `word_tokenize`: sentences, then words and marks by the rules of the Penn Treebank.

use std::sync::LazyLock;

use regex::Regex;

use super::{Sentences, is_space, words};

/// A pattern and what takes its place.
type Rule = (Regex, &'static str);

fn rules(rules: &[(&str, &'static str)]) -> Vec<Rule> {
    let compile =
        |(pattern, replacement): &(&str, _)| (Regex::new(pattern).expect("the pattern is valid"), *replacement);
    rules.iter().map(compile).collect()
}

/// Quotes that open.
static STARTING_QUOTES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    rules(&[("([«“‘„]|[`]+)", " $1 "), (r#"\A""#, "``"), ("(``)", " $1 "), (r#"([ (\[{<])("|'{2})"#, "$1 `` ")])
});

/// Full stops at the end, commas and colons that no digit follows, and marks that always stand alone.
static PUNCTUATION: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    rules(&[
        (r#"([^.])(\.)([\]\)}>"'»”’ ]*)[\s\x1c-\x1f]*\z"#, "$1 $2 $3 "),
        (r"([:,])([^\d])", " $1 $2"),
        (r"([:,])(\n?)\z", " $1 $2"),
        (r"\.{2,}", " $0 "),
        ("[;@#$%&]", " $0 "),
        (r#"([^.])(\.)([\]\)}>"']*)[\s\x1c-\x1f]*\z"#, "$1 $2$3 "),
        ("[?!]", " $0 "),
        ("([^'])' ", "$1 ' "),
        ("[*]", " $0 "),
        (r"[\]\[(){}<>]", " $0 "),
        ("--", " -- "),
    ])
});

/// Quotes that close, and endings such as 's and n't.
static ENDING_QUOTES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    rules(&[
        ("([»”’])", " $1 "),
        ("''", " '' "),
        ("\"", " '' "),
        ("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
        ("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
    ])
});

/// Words that are two, in any case. No word of Python's may go on before or after them.
static CONTRACTIONS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let patterns = [
        "(can)(not)",
        "(d)('ye)",
        "(gim)(me)",
        "(gon)(na)",
        "(got)(ta)",
        "(lem)(me)",
        "(more)('n)",
        "(wan)(na)",
        " ('t)(is)",
        " ('t)(was)",
    ];
    let compile = |pattern| Regex::new(&format!("(?i){pattern}")).expect("the pattern is valid");
    patterns.into_iter().map(compile).collect()
});

/// The words and marks of a text.
pub(super) fn word_tokenize(text: &str, sentences: &Sentences) -> Vec<String> {
    sentences.split(text).iter().flat_map(|sentence| words_of_sentence(sentence)).collect()
}

fn words_of_sentence(sentence: &str) -> Vec<String> {
    let text = apply(sentence.to_owned(), &STARTING_QUOTES);
    let text = apply(cut_short_words(&text), &PUNCTUATION);
    let text = apply(format!(" {text} "), &ENDING_QUOTES);
    let text = CONTRACTIONS.iter().fold(text, |text, pattern| cut_contractions(&text, pattern));
    words(&text).map(str::to_owned).collect()
}

fn apply(text: String, rules: &[Rule]) -> String {
    rules.iter().fold(text, |text, (pattern, replacement)| pattern.replace_all(&text, *replacement).into_owned())
}

/// An apostrophe before a single letter is a quote, unless the letter makes it 's, 't, 'm, 'd or 'n.
fn cut_short_words(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let in_word = |at: usize| letters.get(at).is_some_and(|&letter| is_word(letter));
    // The long s is an s to a pattern that ignores case.
    let ending = |letter: char| "mtsdnMTSDN\u{17f}".contains(letter);
    let mut out = String::with_capacity(text.len() + 2);
    let mut at = 0;
    while at < letters.len() {
        out.push(letters[at]);
        if letters[at] == '\'' && in_word(at + 1) && !in_word(at + 2) && !ending(letters[at + 1]) {
            out.push(' ');
            out.push(letters[at + 1]);
            at += 1;
        }
        at += 1;
    }
    out
}

/// Python's `\w`, which a superscript two is and which Rust's is not.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Puts spaces around both parts of a contraction that stands alone.
fn cut_contractions(text: &str, pattern: &Regex) -> String {
    let stands_alone = |found: &str, before: &str, after: &str| {
        let next = after.chars().next();
        // `wanna` must have white space after it, and `'tis` a space before it, which is in the pattern.
        let ends =
            if found.eq_ignore_ascii_case("wanna") { next.is_some_and(is_space) } else { !next.is_some_and(is_word) };
        ends && (found.starts_with(' ') || !before.chars().next_back().is_some_and(is_word))
    };
    let replaced = pattern.replace_all(text, |parts: &regex::Captures<'_>| {
        let found = parts.get_match();
        match stands_alone(found.as_str(), &text[..found.start()], &text[found.end()..]) {
            true => format!(" {} {} ", &parts[1], &parts[2]),
            false => found.as_str().to_owned(),
        }
    });
    replaced.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<String> {
        word_tokenize(text, &Sentences::default())
    }

    #[test]
    fn marks_and_contractions() {
        assert_eq!(
            tokens("Don't; it's 3.5 cm, or 1,200 HU."),
            ["Do", "n't", ";", "it", "'s", "3.5", "cm", ",", "or", "1,200", "HU", "."]
        );
        assert_eq!(
            tokens("A \"ground-glass\" (mixed) nodule -- cannot rule out"),
            ["A", "``", "ground-glass", "''", "(", "mixed", ")", "nodule", "--", "can", "not", "rule", "out"]
        );
    }

    /// Found by comparing thousands of random texts with nltk.
    #[test]
    fn a_superscript_continues_a_word() {
        assert_eq!(tokens("d'ye cannot"), ["d", "'ye", "can", "not"]);
        assert_eq!(tokens("d'ye² ²cannot wanna."), ["d'ye²", "²cannot", "wan", "na", "."]);
    }

    #[test]
    fn each_sentence_gives_up_its_full_stop() {
        assert_eq!(tokens("No mass. Heart normal."), ["No", "mass", ".", "Heart", "normal", "."]);
    }
}
