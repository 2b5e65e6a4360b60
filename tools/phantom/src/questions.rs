//! Questions about a patient, their answers and choices, in the JSON that Med-2E3 is trained and evaluated with.
//!
//! The question alone gives nothing away: for any choices shown, each is the answer in a quarter of the cases.

use serde::Serialize;

use crate::case::{Case, Lesion, Organ, Phase, Place, Plane};
use crate::draws::{Draws, Purpose};

/// What a question is about, numbered as M3D-VQA does; 0 for captions, as the official files have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// A description of the scan.
    Caption = 0,
    /// How the volume is cut.
    Plane = 1,
    /// Where the contrast agent is.
    Phase = 2,
    /// Which organ has the lesion.
    Organ = 3,
    /// The kind of lesion.
    Abnormality = 4,
    /// The part of the body that has the lesion.
    Location = 5,
}

/// A question with its answer, as the official JSON has it, and the truth about its patient.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Item {
    id: String,
    conversations: [Turn; 1],
    vision3d: [String; 1],
    /// What guides the slice scores: the human's turn without the image.
    pub question: String,
    /// A [`Topic`]'s number.
    pub question_type: u8,
    /// `B. text` for a closed-ended question.
    pub answer: String,
    /// The answer's letter, where there are choices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_choice: Option<char>,
    /// What the patient has.
    pub truth: Truth,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Turn {
    from: &'static str,
    value: String,
}

/// What a patient has. Field names are a public contract.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Truth {
    seed: u64,
    plane: String,
    phase: String,
    lesion: Option<String>,
    organ: Option<String>,
    side: Option<String>,
    place: Option<String>,
    /// First and last slice of the volume that the lesion touches.
    pub slices: Option<[usize; 2]>,
}

impl Topic {
    /// The topics of M3D-VQA.
    pub const ASKED: [Self; 5] = [Self::Plane, Self::Phase, Self::Organ, Self::Abnormality, Self::Location];

    fn name(self) -> &'static str {
        match self {
            Self::Caption => "caption",
            Self::Plane => "plane",
            Self::Phase => "phase",
            Self::Organ => "organ",
            Self::Abnormality => "abnormality",
            Self::Location => "location",
        }
    }

    /// Ways to ask, none of which says anything about the answer.
    fn wordings(self) -> [&'static str; 3] {
        match self {
            Self::Caption => [
                "Describe the findings of this CT scan.",
                "Please write a caption for this CT scan.",
                "Can you report the findings of this CT?",
            ],
            Self::Plane => [
                "What is the plane of this CT scan?",
                "In which plane is this CT shown?",
                "Which plane does this CT scan show?",
            ],
            Self::Phase => [
                "What is the contrast phase of this CT scan?",
                "In which phase is this CT shown?",
                "Which contrast phase does this CT scan show?",
            ],
            Self::Organ => [
                "Which organ is abnormal in this CT scan?",
                "Which organ has the lesion?",
                "In which organ is the abnormality?",
            ],
            Self::Abnormality => [
                "What abnormality does this CT scan show?",
                "Which type of abnormality is seen in this CT?",
                "What type of lesion is seen, if any?",
            ],
            Self::Location => [
                "Where is the lesion located?",
                "What is the location of the abnormality?",
                "In which part of the body is the lesion?",
            ],
        }
    }

    /// All answers to the topic.
    fn answers(self) -> Vec<String> {
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(T::to_string).collect()
        }
        match self {
            Self::Caption => Vec::new(),
            Self::Plane => texts(&Plane::ALL),
            Self::Phase => texts(&Phase::ALL),
            Self::Organ => texts(&Organ::ALL),
            Self::Abnormality => [texts(&Lesion::ALL), vec![NO_LESION.to_owned()]].concat(),
            Self::Location => texts(&Place::ALL),
        }
    }

    /// How often four choices are shown that leave these answers out, before the answer is known.
    ///
    /// Drawing choices by this weight among those that hold the answer makes every choice equally likely to be the
    /// answer exactly if the weights of all sets that hold it add up to how often it is true. Liver and spleen are true
    /// half as often as the other organs, so one of the two is left out. Effusion and no lesion are true in 20 % of
    /// cases, the other lesions in 15 %.
    fn weight(self, left_out: &[&str]) -> usize {
        match self {
            Self::Organ => usize::from(matches!(left_out, ["Liver" | "Spleen"])),
            Self::Abnormality => 2 - left_out.iter().filter(|&&text| text == "Effusion" || text == NO_LESION).count(),
            _ => 1,
        }
    }

    /// The right answer; none where the question makes no sense.
    fn answer(self, case: &Case) -> Option<String> {
        let finding = case.finding;
        match self {
            Self::Caption => Some(caption(case)),
            Self::Plane => Some(case.plane.to_string()),
            Self::Phase => Some(case.phase.to_string()),
            Self::Organ => finding.map(|finding| finding.organ.to_string()),
            Self::Abnormality => {
                Some(finding.map_or_else(|| NO_LESION.to_owned(), |finding| finding.lesion.to_string()))
            }
            Self::Location => finding.map(|finding| finding.place().to_string()),
        }
    }
}

/// The answer where there is no lesion.
const NO_LESION: &str = "None";
const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];

/// Names lesion, organ and side.
fn caption(case: &Case) -> String {
    let head = format!("{} CT, {} phase.", case.plane, case.phase.to_string().to_lowercase());
    match case.finding {
        Some(finding) => {
            let organ = finding.organ.to_string().to_lowercase();
            let place = finding.place().to_string().to_lowercase();
            format!("{head} {} of the {organ} in the {place}.", finding.lesion)
        }
        None => format!("{head} No lesion."),
    }
}

/// All questions about a patient: each topic with choices and without, then the caption.
pub fn items(case: &Case, slices: Option<[usize; 2]>, volume: &str) -> Vec<Item> {
    let mut draws = Draws::new(case.seed, Purpose::Questions);
    let finding = case.finding;
    let truth = Truth {
        seed: case.seed,
        plane: case.plane.to_string(),
        phase: case.phase.to_string(),
        lesion: finding.map(|finding| finding.lesion.to_string()),
        organ: finding.map(|finding| finding.organ.to_string()),
        side: finding.map(|finding| finding.side.to_string()),
        place: finding.map(|finding| finding.place().to_string()),
        slices,
    };
    let item = |topic: Topic, form: &str, question: String, answer: String, answer_choice| Item {
        id: format!("{}-{}{form}", case.seed, topic.name()),
        conversations: [Turn { from: "human", value: format!("<image3d>\n{question}") }],
        vision3d: [volume.to_owned()],
        question,
        question_type: topic as u8,
        answer,
        answer_choice,
        truth: truth.clone(),
    };
    let mut items = Vec::new();
    for topic in Topic::ASKED {
        let Some(answer) = topic.answer(case) else { continue };
        let shown = choices(topic, &answer, &mut draws);
        let right = shown.iter().position(|choice| *choice == answer);
        let letter = LETTERS[right.expect("the answer is among its choices")];
        let listed: Vec<String> =
            LETTERS.iter().zip(&shown).map(|(letter, text)| format!("{letter}. {text}")).collect();
        let closed = format!("{} Choices: {}", draws.pick(&topic.wordings()), listed.join(" "));
        let open = draws.pick(&topic.wordings()).to_owned();
        items.push(item(topic, "-closed", closed, format!("{letter}. {answer}"), Some(letter)));
        items.push(item(topic, "-open", open, answer, None));
    }
    let question = draws.pick(&Topic::Caption.wordings()).to_owned();
    items.push(item(Topic::Caption, "", question, caption(case), None));
    items
}

/// A list of items as the official JSON has it, one item on each line.
///
/// # Errors
/// Those of `serde_json`, which text and numbers do not cause.
pub fn items_json(items: &[Item]) -> serde_json::Result<String> {
    let lines: serde_json::Result<Vec<String>> = items.iter().map(serde_json::to_string).collect();
    Ok(format!("[\n{}\n]\n", lines?.join(",\n")))
}

/// Four choices in random order, the answer among them.
fn choices(topic: Topic, answer: &str, draws: &mut Draws) -> Vec<String> {
    let all = topic.answers();
    let mut sets = Vec::new();
    for bits in 0u32..1 << all.len() {
        let (shown, left_out): (Vec<_>, Vec<_>) = (0..all.len()).partition(|&index| bits >> index & 1 == 1);
        if shown.len() == LETTERS.len() && shown.iter().any(|&index| all[index] == answer) {
            let left_out: Vec<&str> = left_out.iter().map(|&index| all[index].as_str()).collect();
            sets.extend(std::iter::repeat_n(shown, topic.weight(&left_out)));
        }
    }
    let mut shown: Vec<String> = sets[draws.index(sets.len())].iter().map(|&index| all[index].clone()).collect();
    draws.shuffle(&mut shown);
    shown
}
