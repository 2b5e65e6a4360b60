//! DICOM data elements, borrowed from the file's bytes.
//!
//! Read here rather than with `dicom-object`: its parser allocates each value's declared length (up to 4 GiB) before
//! it has seen the bytes, and builds nested sequences by recursion without a limit, so that a small file overflows the
//! stack. This reader allocates nothing for a value, keeps only the elements that a volume needs, and bounds the depth.

use super::super::Problem;

/// Group and element of a data element: 0xGGGGEEEE.
pub(crate) type Tag = u32;

pub(crate) const MEDIA_CLASS: Tag = 0x0002_0002;
pub(crate) const TRANSFER_SYNTAX: Tag = 0x0002_0010;
pub(crate) const DIRECTORY_RECORDS: Tag = 0x0004_1220;
pub(crate) const REFERENCED_FILE: Tag = 0x0004_1500;
pub(crate) const IMAGE_TYPE: Tag = 0x0008_0008;
pub(crate) const SOP_CLASS: Tag = 0x0008_0016;
pub(crate) const SOP_INSTANCE: Tag = 0x0008_0018;
pub(crate) const ACQUISITION_DATE_TIME: Tag = 0x0008_002A;
pub(crate) const ACQUISITION_TIME: Tag = 0x0008_0032;
pub(crate) const CONTENT_TIME: Tag = 0x0008_0033;
pub(crate) const MODALITY: Tag = 0x0008_0060;
pub(crate) const SERIES_DESCRIPTION: Tag = 0x0008_103E;
pub(crate) const FRAME_TYPE: Tag = 0x0008_9007;
pub(crate) const CONTRAST_AGENT: Tag = 0x0018_0010;
pub(crate) const SEQUENCE_NAME: Tag = 0x0018_0024;
pub(crate) const SLICE_THICKNESS: Tag = 0x0018_0050;
pub(crate) const KVP: Tag = 0x0018_0060;
pub(crate) const ECHO_TIME: Tag = 0x0018_0081;
pub(crate) const INVERSION_TIME: Tag = 0x0018_0082;
pub(crate) const ECHO_NUMBERS: Tag = 0x0018_0086;
pub(crate) const SPACING_BETWEEN: Tag = 0x0018_0088;
pub(crate) const TRIGGER_TIME: Tag = 0x0018_1060;
pub(crate) const KERNEL: Tag = 0x0018_1210;
pub(crate) const FLIP_ANGLE: Tag = 0x0018_1314;
pub(crate) const FRAME_ACQUISITION_TIME: Tag = 0x0018_9074;
pub(crate) const EFFECTIVE_ECHO_TIME: Tag = 0x0018_9082;
pub(crate) const B_VALUE: Tag = 0x0018_9087;
pub(crate) const MR_ECHO: Tag = 0x0018_9114;
pub(crate) const MR_DIFFUSION: Tag = 0x0018_9117;
pub(crate) const CARDIAC: Tag = 0x0018_9118;
pub(crate) const MR_FRAME_TYPE: Tag = 0x0018_9226;
pub(crate) const CT_RECONSTRUCTION: Tag = 0x0018_9314;
pub(crate) const CT_X_RAY: Tag = 0x0018_9325;
pub(crate) const CT_FRAME_TYPE: Tag = 0x0018_9329;
pub(crate) const STUDY_UID: Tag = 0x0020_000D;
pub(crate) const SERIES_UID: Tag = 0x0020_000E;
pub(crate) const SERIES_NUMBER: Tag = 0x0020_0011;
pub(crate) const ACQUISITION_NUMBER: Tag = 0x0020_0012;
pub(crate) const INSTANCE_NUMBER: Tag = 0x0020_0013;
pub(crate) const POSITION: Tag = 0x0020_0032;
pub(crate) const ORIENTATION: Tag = 0x0020_0037;
pub(crate) const FRAME_OF_REFERENCE: Tag = 0x0020_0052;
pub(crate) const TEMPORAL_POSITION: Tag = 0x0020_0100;
pub(crate) const STACK_ID: Tag = 0x0020_9056;
pub(crate) const FRAME_CONTENT: Tag = 0x0020_9111;
pub(crate) const PLANE_POSITION: Tag = 0x0020_9113;
pub(crate) const PLANE_ORIENTATION: Tag = 0x0020_9116;
pub(crate) const TEMPORAL_INDEX: Tag = 0x0020_9128;
pub(crate) const FRAME_ACQUISITION: Tag = 0x0020_9156;
pub(crate) const DIMENSION_INDEX: Tag = 0x0020_9157;
pub(crate) const CARDIAC_PHASE: Tag = 0x0020_9241;
pub(crate) const SAMPLES_PER_PIXEL: Tag = 0x0028_0002;
pub(crate) const PHOTOMETRIC: Tag = 0x0028_0004;
pub(crate) const FRAMES: Tag = 0x0028_0008;
pub(crate) const ROWS: Tag = 0x0028_0010;
pub(crate) const COLUMNS: Tag = 0x0028_0011;
pub(crate) const PIXEL_SPACING: Tag = 0x0028_0030;
pub(crate) const BITS_ALLOCATED: Tag = 0x0028_0100;
pub(crate) const BITS_STORED: Tag = 0x0028_0101;
pub(crate) const HIGH_BIT: Tag = 0x0028_0102;
pub(crate) const PIXEL_REPRESENTATION: Tag = 0x0028_0103;
pub(crate) const PADDING_VALUE: Tag = 0x0028_0120;
pub(crate) const PADDING_RANGE_LIMIT: Tag = 0x0028_0121;
pub(crate) const WINDOW_CENTER: Tag = 0x0028_1050;
pub(crate) const WINDOW_WIDTH: Tag = 0x0028_1051;
pub(crate) const RESCALE_INTERCEPT: Tag = 0x0028_1052;
pub(crate) const RESCALE_SLOPE: Tag = 0x0028_1053;
pub(crate) const MODALITY_LUT: Tag = 0x0028_3000;
pub(crate) const PIXEL_MEASURES: Tag = 0x0028_9110;
pub(crate) const FRAME_VOI_LUT: Tag = 0x0028_9132;
pub(crate) const PIXEL_VALUE_TRANSFORMATION: Tag = 0x0028_9145;
pub(crate) const SHARED_GROUPS: Tag = 0x5200_9229;
pub(crate) const FRAME_GROUPS: Tag = 0x5200_9230;
pub(crate) const FLOAT_PIXELS: Tag = 0x7FE0_0008;
pub(crate) const DOUBLE_PIXELS: Tag = 0x7FE0_0009;
pub(crate) const PIXELS: Tag = 0x7FE0_0010;

/// Every tag that is kept, in rising order.
#[rustfmt::skip]
const KEPT: &[Tag] = &[
    MEDIA_CLASS, TRANSFER_SYNTAX, DIRECTORY_RECORDS, REFERENCED_FILE, IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE,
    ACQUISITION_DATE_TIME, ACQUISITION_TIME, CONTENT_TIME, MODALITY, SERIES_DESCRIPTION, FRAME_TYPE, CONTRAST_AGENT,
    SEQUENCE_NAME, SLICE_THICKNESS, KVP, ECHO_TIME, INVERSION_TIME, ECHO_NUMBERS, SPACING_BETWEEN, TRIGGER_TIME,
    KERNEL, FLIP_ANGLE, FRAME_ACQUISITION_TIME, EFFECTIVE_ECHO_TIME, B_VALUE, MR_ECHO, MR_DIFFUSION, CARDIAC,
    MR_FRAME_TYPE, CT_RECONSTRUCTION, CT_X_RAY, CT_FRAME_TYPE, STUDY_UID, SERIES_UID, SERIES_NUMBER,
    ACQUISITION_NUMBER, INSTANCE_NUMBER, POSITION, ORIENTATION, FRAME_OF_REFERENCE, TEMPORAL_POSITION, STACK_ID,
    FRAME_CONTENT, PLANE_POSITION, PLANE_ORIENTATION, TEMPORAL_INDEX, FRAME_ACQUISITION, DIMENSION_INDEX,
    CARDIAC_PHASE, SAMPLES_PER_PIXEL, PHOTOMETRIC, FRAMES, ROWS, COLUMNS, PIXEL_SPACING, BITS_ALLOCATED,
    BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION, PADDING_VALUE, PADDING_RANGE_LIMIT, WINDOW_CENTER, WINDOW_WIDTH,
    RESCALE_INTERCEPT, RESCALE_SLOPE, MODALITY_LUT, PIXEL_MEASURES, FRAME_VOI_LUT, PIXEL_VALUE_TRANSFORMATION,
    SHARED_GROUPS, FRAME_GROUPS, FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS,
];

/// Those of them that are sequences, in rising order; a sequence of known length looks like any other value.
#[rustfmt::skip]
const SEQUENCES: &[Tag] = &[
    DIRECTORY_RECORDS, MR_ECHO, MR_DIFFUSION, CARDIAC, MR_FRAME_TYPE, CT_RECONSTRUCTION, CT_X_RAY, CT_FRAME_TYPE,
    FRAME_CONTENT, PLANE_POSITION, PLANE_ORIENTATION, PIXEL_MEASURES, FRAME_VOI_LUT, PIXEL_VALUE_TRANSFORMATION,
    SHARED_GROUPS, FRAME_GROUPS,
];

/// Sequences that do no more than tell volumes apart, so damage inside one does not refuse the file.
#[rustfmt::skip]
const DISPENSABLE: [Tag; 8] = [
    FRAME_CONTENT, MR_ECHO, MR_DIFFUSION, CARDIAC, MR_FRAME_TYPE, CT_RECONSTRUCTION, CT_X_RAY, CT_FRAME_TYPE,
];

const ITEM: Tag = 0xFFFE_E000;
const ITEM_END: Tag = 0xFFFE_E00D;
const SEQUENCE_END: Tag = 0xFFFE_E0DD;
const UNDEFINED_LENGTH: u32 = u32::MAX;

/// Sequences within sequences that we follow; the standard nests less than ten.
const DEPTH_MAX: usize = 32;

/// How elements are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encoding {
    pub(crate) explicit: bool,
    pub(crate) big_endian: bool,
}

impl Encoding {
    pub(crate) const EXPLICIT_LITTLE: Self = Self { explicit: true, big_endian: false };
    pub(crate) const IMPLICIT_LITTLE: Self = Self { explicit: false, big_endian: false };
}

/// What an element holds.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Items(Vec<Dataset<'a>>),
    /// Encapsulated pixels: the offset table first, then the fragments.
    Fragments(Vec<&'a [u8]>),
}

/// The elements of a file or of a sequence item, those of them that a volume needs.
#[derive(Debug, Clone)]
pub(crate) struct Dataset<'a> {
    elements: Vec<(Tag, Value<'a>)>,
    big_endian: bool,
}

/// What could be read of a data set.
pub(crate) struct Parsed<'a> {
    pub(crate) dataset: Dataset<'a>,
    /// The last element that was begun.
    pub(crate) last: Option<Tag>,
    /// Where reading stopped: the end of the data set, or of what is sound.
    pub(crate) at: usize,
    /// What is wrong with the element that is not sound.
    pub(crate) end: Result<(), Problem>,
}

/// Longest text from a file that is shown in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// The start of a text, for a message.
pub(crate) fn shown(text: &str) -> String {
    let mut letters = text.chars();
    let start: String = letters.by_ref().take(SHOWN_CHARS_MAX).collect();
    if letters.next().is_some() { format!("{start}...") } else { start }
}

/// The name of a tag as the standard writes it.
fn name(tag: Tag) -> String {
    format!("({:04X},{:04X})", tag >> 16, tag & 0xffff)
}

impl<'a> Dataset<'a> {
    /// Parses a whole data set, up to its pixels.
    pub(crate) fn parse(bytes: &'a [u8], encoding: Encoding) -> Result<Self, Problem> {
        let parsed = Self::parse_start(bytes, encoding);
        parsed.end.map(|()| parsed.dataset)
    }

    /// Parses a data set as far as it is sound.
    pub(crate) fn parse_start(bytes: &'a [u8], encoding: Encoding) -> Parsed<'a> {
        let mut cursor = Cursor::at_start(bytes, encoding);
        let mut elements = Vec::new();
        let end = cursor.elements(None, DEPTH_MAX, &mut elements);
        let dataset = Self { elements, big_endian: encoding.big_endian };
        Parsed { dataset, last: cursor.last, at: cursor.at, end }
    }

    /// Parses the file meta group at the start of `bytes`; also returns where the data set starts.
    pub(crate) fn parse_meta(bytes: &'a [u8]) -> Result<(Self, usize), Problem> {
        let mut cursor = Cursor::at_start(bytes, Encoding::EXPLICIT_LITTLE);
        let meta = cursor.dataset(Some(0x0002), DEPTH_MAX)?;
        Ok((meta, cursor.at))
    }

    /// What `tag` holds.
    pub(crate) fn value(&self, tag: Tag) -> Option<&Value<'a>> {
        self.elements.iter().find(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    /// The bytes of `tag`, where it has any.
    fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        match self.value(tag)? {
            Value::Bytes(bytes) if !bytes.is_empty() => Some(bytes),
            _ => None,
        }
    }

    /// The items of the sequence `tag`.
    pub(crate) fn items(&self, tag: Tag) -> &[Dataset<'a>] {
        match self.value(tag) {
            Some(Value::Items(items)) => items,
            _ => &[],
        }
    }

    /// The text of `tag`, without padding; bytes beyond ASCII become question marks.
    pub(crate) fn text(&self, tag: Tag) -> Option<String> {
        let printable = |&byte: &u8| if (b' '..0x7f).contains(&byte) { byte as char } else { '?' };
        let bytes = self.bytes(tag)?;
        let end = bytes.iter().rposition(|&byte| byte != 0 && byte != b' ')? + 1;
        Some(bytes[..end].iter().map(printable).collect::<String>().trim_start().to_owned())
    }

    /// The 16-bit number of `tag`.
    pub(crate) fn number(&self, tag: Tag) -> Option<u16> {
        self.little_endian(tag, 0).map(u16::from_le_bytes)
    }

    /// The `N` bytes of the value at `index` of `tag`, least significant first.
    pub(crate) fn little_endian<const N: usize>(&self, tag: Tag, index: usize) -> Option<[u8; N]> {
        let mut value = *self.bytes(tag)?.as_chunks::<N>().0.get(index)?;
        if self.big_endian {
            value.reverse();
        }
        Some(value)
    }

    /// The 32-bit number of `tag`, where its value is that long.
    pub(crate) fn long_number(&self, tag: Tag) -> Option<u32> {
        self.little_endian(tag, 0).map(u32::from_le_bytes)
    }

    /// The `N` finite decimal numbers that `tag` spells, `None` where the element is absent or empty.
    pub(crate) fn decimals<const N: usize>(&self, tag: Tag) -> Result<Option<[f64; N]>, Problem> {
        let Some(text) = self.text(tag) else { return Ok(None) };
        let parts = text.split('\\').map(str::trim).filter(|part| !part.is_empty());
        let numbers = parts.take(N + 1).map(|part| part.parse().ok().filter(|number: &f64| number.is_finite()));
        let numbers: Vec<f64> = numbers.collect::<Option<_>>().unwrap_or_default();
        match <[f64; N]>::try_from(numbers) {
            Ok(numbers) => Ok(Some(numbers)),
            Err(_) => {
                let finding = format!("has {:?} in {}, wanted {N} decimal number(s)", shown(&text), name(tag));
                Err(Problem::new(finding, "export the file again with valid values"))
            }
        }
    }
}

/// The start of an element.
struct Head {
    tag: Tag,
    /// Two letters, where the encoding has them.
    representation: Option<[u8; 2]>,
    length: u32,
}

/// A place in the bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
    /// The element of the outermost data set that was begun last.
    last: Option<Tag>,
}

impl<'a> Cursor<'a> {
    fn at_start(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding, last: None }
    }

    /// The next `count` bytes.
    fn take(&mut self, count: usize, tag: Tag) -> Result<&'a [u8], Problem> {
        let left = self.bytes.len() - self.at;
        let taken = self.bytes[self.at..].get(..count).ok_or_else(|| {
            let finding = format!("ends within element {}, which needs {count} bytes where {left} are left", name(tag));
            Problem::cut_short(finding)
        })?;
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes, least significant first.
    fn field<const N: usize>(&mut self, tag: Tag) -> Result<[u8; N], Problem> {
        let mut field = [0; N];
        field.copy_from_slice(self.take(N, tag)?);
        if self.encoding.big_endian {
            field.reverse();
        }
        Ok(field)
    }

    /// The tag ahead, unread; `None` at the end.
    fn peek(&self) -> Option<Tag> {
        let [a, b, c, d] = *self.bytes.get(self.at..)?.first_chunk::<4>()?;
        let of = if self.encoding.big_endian { u16::from_be_bytes } else { u16::from_le_bytes };
        Some(u32::from(of([a, b])) << 16 | u32::from(of([c, d])))
    }

    /// Reads an element up to its value.
    fn head(&mut self) -> Result<Head, Problem> {
        let cut = || Problem::cut_short("ends within the tag of an element");
        let tag = self.peek().ok_or_else(cut)?;
        self.at += 4;
        if !self.encoding.explicit || tag >> 16 == 0xFFFE {
            let length = u32::from_le_bytes(self.field(tag)?);
            return Ok(Head { tag, representation: None, length });
        }
        let taken = self.take(2, tag)?;
        let representation = [taken[0], taken[1]];
        if !representation.iter().all(u8::is_ascii_uppercase) {
            let shown = representation.escape_ascii();
            let finding = format!("has \"{shown}\" for the type of element {}, wanted two letters", name(tag));
            return Err(Problem::new(finding, "export the file again; its transfer syntax does not match its data"));
        }
        let long = matches!(
            &representation,
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
        );
        let length = if long {
            self.take(2, tag)?;
            u32::from_le_bytes(self.field(tag)?)
        } else {
            u32::from(u16::from_le_bytes(self.field(tag)?))
        };
        Ok(Head { tag, representation: Some(representation), length })
    }

    /// Reads elements: to the pixels, the end of the item or of the bytes, or, with `group`, the end of that group.
    fn dataset(&mut self, group: Option<u32>, depth: usize) -> Result<Dataset<'a>, Problem> {
        let mut elements = Vec::new();
        self.elements(group, depth, &mut elements)?;
        Ok(Dataset { elements, big_endian: self.encoding.big_endian })
    }

    /// As `dataset`, into `elements`, which keep what was sound before an error.
    fn elements(
        &mut self,
        group: Option<u32>,
        depth: usize,
        elements: &mut Vec<(Tag, Value<'a>)>,
    ) -> Result<(), Problem> {
        while self.at < self.bytes.len() {
            let ahead = self.peek();
            if group.is_some_and(|group| ahead.is_none_or(|tag| tag >> 16 != group)) {
                break;
            }
            let head = self.head()?;
            if head.tag == ITEM_END {
                break;
            }
            if depth == DEPTH_MAX {
                self.last = Some(head.tag);
            }
            let value = self.value_of(&head, depth)?;
            if KEPT.binary_search(&head.tag).is_ok() {
                elements.push((head.tag, value));
            }
            if depth == DEPTH_MAX && head.tag == PIXELS {
                break;
            }
        }
        Ok(())
    }

    /// Reads the value of an element.
    fn value_of(&mut self, head: &Head, depth: usize) -> Result<Value<'a>, Problem> {
        let is_unknown = head.representation == Some(*b"UN");
        if head.length == UNDEFINED_LENGTH {
            if head.tag == PIXELS {
                return self.fragments();
            }
            let outer = self.encoding;
            if is_unknown {
                // A sequence whose type its writer did not know keeps the encoding it came in (DICOM PS3.5, 6.2.2).
                self.encoding = Encoding::IMPLICIT_LITTLE;
            }
            let items = self.sequence(depth)?;
            self.encoding = outer;
            return Ok(Value::Items(items));
        }
        let bytes = self.take(head.length as usize, head.tag)?;
        if SEQUENCES.binary_search(&head.tag).is_ok() {
            let encoding = if is_unknown { Encoding::IMPLICIT_LITTLE } else { self.encoding };
            return match Cursor::at_start(bytes, encoding).sequence(depth) {
                Err(_) if DISPENSABLE.contains(&head.tag) => Ok(Value::Bytes(bytes)),
                items => items.map(Value::Items),
            };
        }
        Ok(Value::Bytes(bytes))
    }

    /// Reads the items of a sequence, to its end mark or the end of the bytes.
    fn sequence(&mut self, depth: usize) -> Result<Vec<Dataset<'a>>, Problem> {
        let Some(depth) = depth.checked_sub(1) else {
            let finding = format!("nests sequences more than {DEPTH_MAX} deep");
            return Err(Problem::new(finding, "export the file again; this one is damaged"));
        };
        let mut items = Vec::new();
        while self.at < self.bytes.len() {
            let head = self.head()?;
            match head.tag {
                SEQUENCE_END => return Ok(items),
                ITEM if head.length == UNDEFINED_LENGTH => items.push(self.dataset(None, depth)?),
                ITEM => {
                    let bytes = self.take(head.length as usize, head.tag)?;
                    items.push(Cursor::at_start(bytes, self.encoding).dataset(None, depth)?);
                }
                tag => return Err(self.misplaced(tag)),
            }
        }
        Ok(items)
    }

    /// Reads encapsulated pixels to their end mark.
    fn fragments(&mut self) -> Result<Value<'a>, Problem> {
        let mut fragments = Vec::new();
        loop {
            let head = self.head()?;
            match head.tag {
                SEQUENCE_END => return Ok(Value::Fragments(fragments)),
                ITEM if head.length != UNDEFINED_LENGTH => {
                    fragments.push(self.take(head.length as usize, PIXELS)?);
                }
                tag => return Err(self.misplaced(tag)),
            }
        }
    }

    /// An element where an item should be.
    fn misplaced(&self, tag: Tag) -> Problem {
        let finding = format!("has element {} where a sequence item should start", name(tag));
        Problem::new(finding, "export the file again; this one is damaged")
    }
}
