//! The official rules for closed-ended questions.

use std::fmt;

/// The mark of the right choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// `B`, written `B. text` in M3D-VQA.
    Letter(char),
    /// `b`, written `(b) text` in CT-RATE.
    Parenthesis(char),
}

impl Choice {
    /// The choice that an answer starts with, or holds in parentheses.
    pub fn of_answer(answer: &str) -> Option<Self> {
        let mut letters = answer.trim_start().chars();
        if let (Some(letter @ 'A'..='D'), Some('.')) = (letters.next(), letters.next()) {
            return Some(Self::Letter(letter));
        }
        let letters: Vec<char> = answer.chars().collect();
        letters.windows(3).find_map(|three| match *three {
            ['(', letter @ 'a'..='z', ')'] => Some(Self::Parenthesis(letter)),
            _ => None,
        })
    }

    /// The choices that a question lists, as an answer would name each: `B. text` or `(b) text`. Empty if there are not
    /// two, in the order of the letters.
    pub fn listed(self, question: &str) -> Vec<String> {
        let letters: Vec<Self> = match self {
            Self::Letter(_) => ('A'..='Z').map(Self::Letter).collect(),
            Self::Parenthesis(_) => ('a'..='z').map(Self::Parenthesis).collect(),
        };
        let question = question.rsplit_once("Choices:").map_or(question, |(_, listed)| listed);
        let marks = letters.iter().map(|letter| format!("{letter} "));
        let mut starts: Vec<usize> = Vec::new();
        for mark in marks {
            let from = starts.last().map_or(0, |start| start + 1);
            let found = question[from..].match_indices(&mark).map(|(at, _)| from + at);
            // A mark stands at the beginning or behind a space: `CT A. ` has one, `LA. ` none.
            match found.into_iter().find(|&at| at == 0 || question[..at].ends_with(char::is_whitespace)) {
                Some(at) => starts.push(at),
                None => break,
            }
        }
        if starts.len() < 2 {
            return Vec::new();
        }
        let ends = starts[1..].iter().copied().chain([question.len()]);
        let text = |(&start, end): (&usize, usize)| question[start..end].trim().trim_end_matches(';').to_owned();
        starts.iter().zip(ends).map(text).collect()
    }

    /// Whether the answer names it: the mark occurs anywhere, as in the scripts of M3D, Med-2E3 and CT-RATE.
    pub fn is_in(self, prediction: &str) -> bool {
        prediction.contains(&self.to_string())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Letter(letter) => write!(f, "{letter}."),
            Self::Parenthesis(letter) => write!(f, "({letter})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_choices_are_what_an_answer_would_be() {
        let letter = Choice::Letter('A');
        let asked = "Which plane? Choices: A. Axial B. Sagittal, left C. CT scan D. None of A. to C.";
        assert_eq!(letter.listed(asked), ["A. Axial", "B. Sagittal, left", "C. CT scan", "D. None of A. to C."]);
        assert_eq!(letter.listed("Choices: A. yes B. no"), ["A. yes", "B. no"]);
        assert_eq!(Choice::Parenthesis('b').listed("Is it? (a) yes (b) no"), ["(a) yes", "(b) no"]);
        for none in ["Which plane?", "Choices: A. one alone", "Choices: B. no C. first", ""] {
            assert!(letter.listed(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn the_mark_may_stand_anywhere() {
        let choice = Choice::of_answer("B. Coronal").unwrap();
        assert!(choice.is_in("B. Coronal") && choice.is_in("It is B.") && choice.is_in("A. or B."));
        assert!(!choice.is_in("B") && !choice.is_in("b. Coronal") && !choice.is_in(""));
        assert_eq!(Choice::of_answer("see (c) here"), Some(Choice::Parenthesis('c')));
        assert_eq!((Choice::of_answer("Coronal"), Choice::of_answer("E. x")), (None, None));
    }
}
