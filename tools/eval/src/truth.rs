//! What a patient has, where the data says so, as `phantom` does.

use serde::{Deserialize, Serialize};

/// The finding of a patient.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The kind of lesion; nothing where there is none.
    pub lesion: Option<String>,
    /// The patient's side that it is on.
    pub side: Option<String>,
    /// First and last slice that it touches.
    pub slices: Option<[usize; 2]>,
}

impl Truth {
    /// The same with slices of the model's input in place of the file's, whose numbers each of the former comes from.
    pub fn on_input(&self, sources: &[[usize; 2]]) -> Self {
        Self { slices: self.slices.and_then(|slices| slices_on_input(slices, sources)), ..self.clone() }
    }

    /// The shares of scores and of slices that lie on the lesion, where `scores` are of these slices.
    pub fn shares(&self, scores: &[f32]) -> Option<Shares> {
        let [first, last] = self.slices?;
        let mass = scores.get(first..=last)?.iter().copied().map(f64::from).sum();
        Some(Shares { mass, chance: (last + 1 - first) as f64 / scores.len() as f64 })
    }

    /// Whether the lesion touches a slice.
    pub fn touches(&self, slice: usize) -> bool {
        self.slices.is_some_and(|[first, last]| (first..=last).contains(&slice))
    }

    /// What of the finding a caption says.
    pub fn said(&self, caption: &str) -> Said {
        let words: Vec<String> = caption
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect();
        let says = |word: &Option<String>| word.as_ref().is_some_and(|word| words.contains(&word.to_lowercase()));
        let nothing = words.windows(2).any(|pair| pair[0] == "no" && pair[1] == "lesion");
        Said { lesion: if self.lesion.is_some() { says(&self.lesion) } else { nothing }, side: says(&self.side) }
    }
}

/// First and last slice of the model's input that are made from any of these slices of the file; `sources` holds the
/// first and last slice of the file that each is made from.
pub fn slices_on_input([first, last]: [usize; 2], sources: &[[usize; 2]]) -> Option<[usize; 2]> {
    let made_from = |source: &[usize; 2]| source[0] <= last && first <= source[1];
    Some([sources.iter().position(made_from)?, sources.iter().rposition(made_from)?])
}

/// What lies on a lesion.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Of the scores.
    pub mass: f64,
    /// Of the slices: what scores that know nothing would have.
    pub chance: f64,
}

/// What of a finding is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Its kind; or, where there is none, `no lesion`.
    pub lesion: bool,
    /// Its side.
    pub side: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(lesion: Option<&str>, side: Option<&str>, slices: Option<[usize; 2]>) -> Truth {
        Truth { lesion: lesion.map(str::to_owned), side: side.map(str::to_owned), slices }
    }

    #[test]
    fn slices_follow_the_preparation() {
        let of = |first: usize, last: usize, sources: &[[usize; 2]]| slices_on_input([first, last], sources);
        let same: Vec<[usize; 2]> = (0..8).map(|slice| [slice, slice]).collect();
        assert_eq!(of(2, 4, &same), Some([2, 4]));
        assert_eq!(of(2, 4, &[[0, 1], [2, 3], [4, 5], [6, 7]]), Some([1, 2]));
        assert_eq!(of(2, 2, &[[0, 1], [1, 2], [2, 2], [2, 3]]), Some([1, 3]));
        assert_eq!(of(2, 2, &[[2, 2], [2, 2], [3, 3]]), Some([0, 1]));
        assert_eq!(of(9, 9, &same), None, "cut away");
        assert_eq!(truth(None, None, Some([1, 1])).on_input(&[[1, 2], [3, 4]]).slices, Some([0, 0]));
    }

    #[test]
    fn shares_are_of_the_slices_from_first_to_last() {
        let scores = [0.125, 0.5, 0.25, 0.125];
        let shares = truth(None, None, Some([1, 2])).shares(&scores).unwrap();
        assert_eq!((shares.mass, shares.chance), (0.75, 0.5));
        assert_eq!(truth(None, None, Some([1, 4])).shares(&scores), None, "of other slices");
        assert_eq!(truth(None, None, None).shares(&scores), None);
        assert_eq!(
            [0, 1, 2, 3].map(|slice| truth(None, None, Some([1, 2])).touches(slice)),
            [false, true, true, false]
        );
    }

    #[test]
    fn captions_are_read_word_by_word() {
        let mass = truth(Some("Mass"), Some("Right"), None);
        let said = |lesion, side| Said { lesion, side };
        assert_eq!(mass.said("Axial CT. Mass of the kidney in the right abdomen."), said(true, true));
        assert_eq!(mass.said("A MASS, left."), said(true, false));
        assert_eq!(mass.said("Massive cyst, bright"), said(false, false));
        let none = truth(None, None, None);
        assert!(none.said("Axial CT, delayed phase. No lesion.").lesion);
        assert!(!none.said("Mass of the lung; no other lesion.").lesion);
    }
}
