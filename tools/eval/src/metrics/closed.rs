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
    fn the_mark_may_stand_anywhere() {
        let choice = Choice::of_answer("B. Coronal").unwrap();
        assert!(choice.is_in("B. Coronal") && choice.is_in("It is B.") && choice.is_in("A. or B."));
        assert!(!choice.is_in("B") && !choice.is_in("b. Coronal") && !choice.is_in(""));
        assert_eq!(Choice::of_answer("see (c) here"), Some(Choice::Parenthesis('c')));
        assert_eq!((Choice::of_answer("Coronal"), Choice::of_answer("E. x")), (None, None));
    }
}
