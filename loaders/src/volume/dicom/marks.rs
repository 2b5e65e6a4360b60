//! What tells one volume of a series from another: acquisition, phase, echo, kernel, time and the like.

use std::collections::HashMap;
use std::ops::Range;

use super::dataset::{self as tag, Dataset, Tag};

/// How an element spells its value.
#[derive(Debug, Clone, Copy)]
enum Form {
    Text,
    U16,
    U32,
    F32,
    F64,
    /// The value at this index of several 32-bit numbers.
    U32At(usize),
}

/// Where a value stands: the data set, or the first item of a functional group's sequence.
#[derive(Debug, Clone, Copy)]
struct Place {
    sequence: Option<Tag>,
    tag: Tag,
    form: Form,
}

/// What the values of a mark are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Number,
    Text,
    /// hhmmss, or a date and then hhmmss.
    Clock,
    Milliseconds,
}

impl Kind {
    /// Times differ from slice to slice even within one volume.
    pub(crate) fn is_time(self) -> bool {
        matches!(self, Self::Clock | Self::Milliseconds)
    }
}

/// One thing that can tell volumes apart.
#[derive(Debug)]
pub(crate) struct Mark {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    places: &'static [Place],
}

const fn text(tag: Tag) -> Place {
    Place { sequence: None, tag, form: Form::Text }
}

const fn grouped(sequence: Tag, tag: Tag, form: Form) -> Place {
    Place { sequence: Some(sequence), tag, form }
}

const fn mark(name: &'static str, kind: Kind, places: &'static [Place]) -> Mark {
    Mark { name, kind, places }
}

/// The index of a frame along one dimension of the file's own choice.
const fn dimension(index: usize) -> Place {
    grouped(tag::FRAME_CONTENT, tag::DIMENSION_INDEX, Form::U32At(index))
}

pub(crate) const MARK_COUNT: usize = 24;

/// All marks, the first that separates decides. What was asked of the scanner comes first, what it says about the
/// picture next, times last. InstanceNumber is not among them: it may restart, or run on, in every phase.
pub(crate) static MARKS: [Mark; MARK_COUNT] = [
    mark("StackID", Kind::Text, &[grouped(tag::FRAME_CONTENT, tag::STACK_ID, Form::Text)]),
    mark(
        "TemporalPosition",
        Kind::Number,
        &[grouped(tag::FRAME_CONTENT, tag::TEMPORAL_INDEX, Form::U32), text(tag::TEMPORAL_POSITION)],
    ),
    mark(
        "AcquisitionNumber",
        Kind::Number,
        &[grouped(tag::FRAME_CONTENT, tag::FRAME_ACQUISITION, Form::U16), text(tag::ACQUISITION_NUMBER)],
    ),
    mark("EchoNumber", Kind::Number, &[text(tag::ECHO_NUMBERS)]),
    mark("EchoTime", Kind::Number, &[grouped(tag::MR_ECHO, tag::EFFECTIVE_ECHO_TIME, Form::F64), text(tag::ECHO_TIME)]),
    mark("InversionTime", Kind::Number, &[text(tag::INVERSION_TIME)]),
    mark("FlipAngle", Kind::Number, &[text(tag::FLIP_ANGLE)]),
    mark(
        "DiffusionBValue",
        Kind::Number,
        &[
            grouped(tag::MR_DIFFUSION, tag::B_VALUE, Form::F64),
            Place { sequence: None, tag: tag::B_VALUE, form: Form::F64 },
        ],
    ),
    mark("CardiacPhase", Kind::Number, &[grouped(tag::CARDIAC, tag::CARDIAC_PHASE, Form::F32)]),
    mark(
        "ConvolutionKernel",
        Kind::Text,
        &[grouped(tag::CT_RECONSTRUCTION, tag::KERNEL, Form::Text), text(tag::KERNEL)],
    ),
    mark("KVP", Kind::Number, &[grouped(tag::CT_X_RAY, tag::KVP, Form::Text), text(tag::KVP)]),
    mark(
        "SliceThickness",
        Kind::Number,
        &[grouped(tag::PIXEL_MEASURES, tag::SLICE_THICKNESS, Form::Text), text(tag::SLICE_THICKNESS)],
    ),
    mark("ContrastBolusAgent", Kind::Text, &[text(tag::CONTRAST_AGENT)]),
    mark("SequenceName", Kind::Text, &[text(tag::SEQUENCE_NAME)]),
    mark(
        "ImageType",
        Kind::Text,
        &[
            grouped(tag::CT_FRAME_TYPE, tag::FRAME_TYPE, Form::Text),
            grouped(tag::MR_FRAME_TYPE, tag::FRAME_TYPE, Form::Text),
            text(tag::IMAGE_TYPE),
        ],
    ),
    mark("SeriesDescription", Kind::Text, &[text(tag::SERIES_DESCRIPTION)]),
    mark("DimensionIndex 1", Kind::Number, &[dimension(0)]),
    mark("DimensionIndex 2", Kind::Number, &[dimension(1)]),
    mark("DimensionIndex 3", Kind::Number, &[dimension(2)]),
    mark("DimensionIndex 4", Kind::Number, &[dimension(3)]),
    mark(
        "AcquisitionTime",
        Kind::Clock,
        &[grouped(tag::FRAME_CONTENT, tag::FRAME_ACQUISITION_TIME, Form::Text), text(tag::ACQUISITION_TIME)],
    ),
    mark("AcquisitionDateTime", Kind::Clock, &[text(tag::ACQUISITION_DATE_TIME)]),
    mark("TriggerTime", Kind::Milliseconds, &[text(tag::TRIGGER_TIME)]),
    mark("ContentTime", Kind::Clock, &[text(tag::CONTENT_TIME)]),
];

/// Place of ImageType in [`MARKS`].
pub(crate) const IMAGE_TYPE: usize = 14;

/// Longest value that is kept; ImageType with eight parts takes 60 characters.
const VALUE_CHARS_MAX: usize = 64;

/// The values of all marks of one frame, as positions in the texts of its file; 0 where the frame has none.
pub(crate) type MarkIds = [u32; MARK_COUNT];

/// The texts of a file, each once however many frames repeat it.
#[derive(Debug)]
pub(crate) struct Texts {
    ids: HashMap<String, u32>,
    texts: Vec<String>,
}

impl Texts {
    /// Only the empty text, at 0.
    pub(crate) fn new() -> Self {
        Self { ids: HashMap::new(), texts: vec![String::new()] }
    }

    /// The texts in the order of their positions.
    pub(crate) fn into_texts(self) -> Vec<String> {
        self.texts
    }

    fn id(&mut self, text: String) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let next = self.texts.len() as u32;
        *self.ids.entry(text).or_insert_with_key(|text| {
            self.texts.push(text.clone());
            next
        })
    }
}

/// Reads the marks that stand in `dataset` itself into `ids`.
pub(crate) fn read_plain(dataset: &Dataset<'_>, texts: &mut Texts, ids: &mut MarkIds) {
    read(texts, ids, |place| place.sequence.is_none().then_some(dataset));
}

/// Reads the marks that stand in the functional groups `groups` into `ids`; others stay as they are.
pub(crate) fn read_groups(groups: &Dataset<'_>, texts: &mut Texts, ids: &mut MarkIds) {
    read(texts, ids, |place| groups.items(place.sequence?).first());
}

fn read<'a, 'b: 'a>(texts: &mut Texts, ids: &mut MarkIds, holder: impl Fn(&Place) -> Option<&'a Dataset<'b>>) {
    for (mark, id) in MARKS.iter().zip(ids) {
        let value = mark.places.iter().find_map(|place| value_of(holder(place)?, place, mark.kind));
        if let Some(value) = value {
            *id = texts.id(value);
        }
    }
}

/// The value at `place`, numbers in one spelling.
fn value_of(dataset: &Dataset<'_>, place: &Place, kind: Kind) -> Option<String> {
    let number = match place.form {
        Form::Text => {
            let text = dataset.text(place.tag)?;
            match text.parse::<f64>() {
                Ok(number) if kind == Kind::Number && number.is_finite() => number,
                _ => return Some(text.chars().take(VALUE_CHARS_MAX).collect()),
            }
        }
        Form::U16 => f64::from(dataset.number(place.tag)?),
        Form::U32 => f64::from(u32::from_le_bytes(dataset.little_endian(place.tag, 0)?)),
        Form::U32At(index) => f64::from(u32::from_le_bytes(dataset.little_endian(place.tag, index)?)),
        Form::F32 => f64::from(f32::from_le_bytes(dataset.little_endian(place.tag, 0)?)),
        Form::F64 => f64::from_le_bytes(dataset.little_endian(place.tag, 0)?),
    };
    Some(number.to_string())
}

/// Seconds that a time means, for comparisons; `None` where the text is not a time.
pub(crate) fn seconds(kind: Kind, text: &str) -> Option<f64> {
    if kind == Kind::Milliseconds {
        return text.parse().ok().map(|milliseconds: f64| milliseconds / 1e3).filter(|seconds| seconds.is_finite());
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    // A date of eight digits may stand before the six of a time; months count as 31 days.
    let date_digits = if digits > 6 { digits.min(8) } else { 0 };
    let date = |part: Range<usize>| text[..date_digits].get(part)?.parse::<f64>().ok();
    let months = date(0..4).unwrap_or(0.0) * 12.0 + date(4..6).unwrap_or(0.0);
    let days = months * 31.0 + date(6..8).unwrap_or(0.0);
    let clock = &text[date_digits..];
    let hours = clock.get(0..2)?.parse::<f64>().ok()?;
    let minutes = clock.get(2..4).unwrap_or("0").parse::<f64>().ok()?;
    let number: String = clock.get(4..)?.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let seconds = if number.is_empty() { 0.0 } else { number.parse::<f64>().ok()? };
    Some(((days * 24.0 + hours) * 60.0 + minutes) * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        let of = |text| seconds(Kind::Clock, text);
        assert_eq!(of("100030"), Some(36030.0));
        assert_eq!(of("1000"), Some(36000.0));
        assert_eq!(of("100030.25"), Some(36030.25));
        assert_eq!(of("20200102100030.5+0100").map(|t| t - of("20200101100030").expect("a time")), Some(86400.5));
        assert_eq!((of("10:00"), of(""), of("noon")), (None, None, None));
        assert_eq!(seconds(Kind::Milliseconds, "1500"), Some(1.5));
    }

    #[test]
    fn the_image_type_has_its_place() {
        assert_eq!(MARKS[IMAGE_TYPE].name, "ImageType");
    }

    #[test]
    fn a_text_is_kept_once() {
        let mut texts = Texts::new();
        let ids = ["a", "b", "a", ""].map(|text| texts.id(text.to_owned()));
        assert_eq!(ids, [1, 2, 1, 0]);
        assert_eq!(texts.into_texts(), ["", "a", "b"]);
    }
}
