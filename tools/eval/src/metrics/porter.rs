//! The Porter stemmer with nltk's extensions, which its METEOR stems with.
//!
//! Not a crate: those on offer follow Porter's paper or Snowball's second version, and both differ from nltk's, for
//! example on `dies`, `enjoy` and `generally`.

/// Words that the rules would get wrong.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// Suffix and replacement, where the stem before it has a measure above 0.
const STEP_2: [(&str, &str); 21] = [
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("fulli", "ful"),
];

/// As [`STEP_2`].
const STEP_3: [(&str, &str); 7] =
    [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

/// Suffixes dropped where the stem before them has a measure above 1.
const STEP_4: [&str; 19] = [
    "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
    "ous", "ive", "ize",
];

/// The stem of a word in lower case.
pub(super) fn stem(word: &str) -> String {
    if let Some((_, stem)) = IRREGULAR.iter().find(|(irregular, _)| *irregular == word) {
        return (*stem).to_owned();
    }
    if word.chars().count() <= 2 {
        return word.to_owned();
    }
    let steps = [step_1a, step_1b, step_1c, step_2, step_3, step_4, step_5a, step_5b];
    steps.iter().fold(word.to_owned(), |word, step| step(word))
}

fn step_1a(word: String) -> String {
    match word.strip_suffix("ies") {
        Some(stem) if stem.chars().count() == 1 => return format!("{stem}ie"),
        _ => {}
    }
    replace_first(word, &[("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")], |_, _| true)
}

fn step_1b(word: String) -> String {
    if let Some(stem) = word.strip_suffix("ied") {
        return format!("{stem}{}", if stem.chars().count() == 1 { "ie" } else { "i" });
    }
    if let Some(stem) = word.strip_suffix("eed") {
        return if measure(stem) > 0 { format!("{stem}ee") } else { word };
    }
    let has_vowel = |stem: &&str| consonants(stem).contains(&false);
    let Some(stem) = ["ed", "ing"].iter().find_map(|suffix| word.strip_suffix(suffix).filter(has_vowel)) else {
        return word;
    };
    if ["at", "bl", "iz"].iter().any(|end| stem.ends_with(end)) {
        return format!("{stem}e");
    }
    let letters: Vec<char> = stem.chars().collect();
    match letters[..] {
        [.., a, b] if a == b && consonants(stem).last() == Some(&true) => {
            // `hopping` loses a letter, `falling` does not.
            let kept = if matches!(b, 'l' | 's' | 'z') { letters.len() } else { letters.len() - 1 };
            letters[..kept].iter().collect()
        }
        _ if measure(stem) == 1 && ends_cvc(stem) => format!("{stem}e"),
        _ => stem.to_owned(),
    }
}

fn step_1c(word: String) -> String {
    replace_first(word, &[("y", "i")], |_, stem| {
        let consonants = consonants(stem);
        consonants.len() > 1 && consonants.last() == Some(&true)
    })
}

fn step_2(word: String) -> String {
    match word.strip_suffix("alli") {
        Some(stem) if measure(stem) > 0 => return step_2(format!("{stem}al")),
        _ => {}
    }
    if STEP_2.iter().any(|(suffix, _)| word.ends_with(suffix)) {
        return replace_first(word, &STEP_2, |_, stem| measure(stem) > 0);
    }
    // The l counts as part of the stem: `geology` and `geological` meet.
    replace_first(word, &[("logi", "log")], |_, stem| measure(&format!("{stem}l")) > 0)
}

fn step_3(word: String) -> String {
    replace_first(word, &STEP_3, |_, stem| measure(stem) > 0)
}

fn step_4(word: String) -> String {
    let rules = STEP_4.map(|suffix| (suffix, ""));
    replace_first(word, &rules, |suffix, stem| measure(stem) > 1 && (suffix != "ion" || stem.ends_with(['s', 't'])))
}

fn step_5a(word: String) -> String {
    replace_first(word, &[("e", "")], |_, stem| match measure(stem) {
        0 => false,
        1 => !ends_cvc(stem),
        _ => true,
    })
}

fn step_5b(word: String) -> String {
    // The measure is that of the word without its last letter.
    replace_first(word, &[("ll", "l")], |_, stem| measure(&format!("{stem}l")) > 1)
}

/// Applies the first rule whose suffix the word has, if its condition holds; later rules are not tried.
fn replace_first(word: String, rules: &[(&str, &str)], condition: impl Fn(&str, &str) -> bool) -> String {
    for (suffix, replacement) in rules {
        if let Some(stem) = word.strip_suffix(suffix) {
            return if condition(suffix, stem) { format!("{stem}{replacement}") } else { word };
        }
    }
    word
}

/// For each letter whether it is a consonant: all but a, e, i, o, u, and y after a consonant.
fn consonants(word: &str) -> Vec<bool> {
    let mut found: Vec<bool> = Vec::new();
    for letter in word.chars() {
        let consonant = match letter {
            'a' | 'e' | 'i' | 'o' | 'u' => false,
            'y' => found.last() != Some(&true),
            _ => true,
        };
        found.push(consonant);
    }
    found
}

/// How often a vowel is followed by a consonant.
fn measure(stem: &str) -> usize {
    consonants(stem).windows(2).filter(|pair| !pair[0] && pair[1]).count()
}

/// Whether it ends consonant, vowel, consonant other than w, x, y, or is a vowel and a consonant.
fn ends_cvc(word: &str) -> bool {
    match consonants(word)[..] {
        [false, true] => true,
        [.., true, false, true] => !word.ends_with(['w', 'x', 'y']),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of nltk's own comments, which tell its rules from Porter's.
    #[test]
    fn nltks_extensions() {
        let pairs = [
            ("dies", "die"),
            ("flies", "fli"),
            ("spied", "spi"),
            ("died", "die"),
            ("enjoy", "enjoy"),
            ("happy", "happi"),
            ("try", "tri"),
            ("news", "news"),
            ("geology", "geolog"),
            ("is", "is"),
            ("nodules", "nodul"),
            ("calcified", "calcifi"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
        ];
        for (word, wanted) in pairs {
            assert_eq!(stem(word), wanted, "{word}");
        }
    }
}
