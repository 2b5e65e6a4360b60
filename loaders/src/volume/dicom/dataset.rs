//! DICOM data elements, borrowed from the file's bytes.
//!
//! Read here rather than with `dicom-object`: its parser allocates each value's declared length (up to 4 GiB) before
//! it has seen the bytes, and builds nested sequences by recursion without a limit, so that a small file overflows the
//! stack. This reader allocates nothing for a value, keeps only the elements that a volume needs, and bounds the depth.

use super::super::Problem;

/// Group and element of a data element: 0xGGGGEEEE.
pub(crate) type Tag = u32;

pub(crate) const TRANSFER_SYNTAX: Tag = 0x0002_0010;
pub(crate) const SOP_CLASS: Tag = 0x0008_0016;
pub(crate) const MODALITY: Tag = 0x0008_0060;
pub(crate) const SERIES_DESCRIPTION: Tag = 0x0008_103E;
pub(crate) const SLICE_THICKNESS: Tag = 0x0018_0050;
pub(crate) const SERIES_UID: Tag = 0x0020_000E;
pub(crate) const SERIES_NUMBER: Tag = 0x0020_0011;
pub(crate) const INSTANCE_NUMBER: Tag = 0x0020_0013;
pub(crate) const POSITION: Tag = 0x0020_0032;
pub(crate) const ORIENTATION: Tag = 0x0020_0037;
pub(crate) const PLANE_POSITION: Tag = 0x0020_9113;
pub(crate) const PLANE_ORIENTATION: Tag = 0x0020_9116;
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
pub(crate) const RESCALE_INTERCEPT: Tag = 0x0028_1052;
pub(crate) const RESCALE_SLOPE: Tag = 0x0028_1053;
pub(crate) const MODALITY_LUT: Tag = 0x0028_3000;
pub(crate) const PIXEL_MEASURES: Tag = 0x0028_9110;
pub(crate) const PIXEL_VALUE_TRANSFORMATION: Tag = 0x0028_9145;
pub(crate) const SHARED_GROUPS: Tag = 0x5200_9229;
pub(crate) const FRAME_GROUPS: Tag = 0x5200_9230;
pub(crate) const FLOAT_PIXELS: Tag = 0x7FE0_0008;
pub(crate) const DOUBLE_PIXELS: Tag = 0x7FE0_0009;
pub(crate) const PIXELS: Tag = 0x7FE0_0010;

/// Every tag that is kept, in rising order.
#[rustfmt::skip]
const KEPT: [Tag; 32] = [
    TRANSFER_SYNTAX, SOP_CLASS, MODALITY, SERIES_DESCRIPTION, SLICE_THICKNESS, SERIES_UID, SERIES_NUMBER,
    INSTANCE_NUMBER, POSITION, ORIENTATION, PLANE_POSITION, PLANE_ORIENTATION, SAMPLES_PER_PIXEL, PHOTOMETRIC, FRAMES,
    ROWS, COLUMNS, PIXEL_SPACING, BITS_ALLOCATED, BITS_STORED, HIGH_BIT, PIXEL_REPRESENTATION, RESCALE_INTERCEPT,
    RESCALE_SLOPE, MODALITY_LUT, PIXEL_MEASURES, PIXEL_VALUE_TRANSFORMATION, SHARED_GROUPS, FRAME_GROUPS,
    FLOAT_PIXELS, DOUBLE_PIXELS, PIXELS,
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

/// The name of a tag as the standard writes it.
fn name(tag: Tag) -> String {
    format!("({:04X},{:04X})", tag >> 16, tag & 0xffff)
}

impl<'a> Dataset<'a> {
    /// Parses a whole data set, up to its pixels.
    pub(crate) fn parse(bytes: &'a [u8], encoding: Encoding) -> Result<Self, Problem> {
        Cursor { bytes, at: 0, encoding }.dataset(None, DEPTH_MAX)
    }

    /// Parses the file meta group at the start of `bytes`; also returns where the data set starts.
    pub(crate) fn parse_meta(bytes: &'a [u8]) -> Result<(Self, usize), Problem> {
        let mut cursor = Cursor { bytes, at: 0, encoding: Encoding::EXPLICIT_LITTLE };
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
        let [first, second] = *self.bytes(tag)?.first_chunk::<2>()?;
        Some(if self.big_endian { u16::from_be_bytes([first, second]) } else { u16::from_le_bytes([first, second]) })
    }

    /// The `N` finite decimal numbers that `tag` spells, `None` where the element is absent or empty.
    pub(crate) fn decimals<const N: usize>(&self, tag: Tag) -> Result<Option<[f64; N]>, Problem> {
        let Some(text) = self.text(tag) else { return Ok(None) };
        let numbers: Vec<f64> =
            text.split('\\').filter_map(|part| part.trim().parse().ok()).filter(|x: &f64| x.is_finite()).collect();
        match <[f64; N]>::try_from(numbers) {
            Ok(numbers) => Ok(Some(numbers)),
            Err(_) => {
                let finding = format!("has {text:?} in {}, wanted {N} decimal number(s)", name(tag));
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
}

impl<'a> Cursor<'a> {
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
        while self.at < self.bytes.len() {
            let ahead = self.peek();
            if group.is_some_and(|group| ahead.is_none_or(|tag| tag >> 16 != group)) {
                break;
            }
            let head = self.head()?;
            if head.tag == ITEM_END {
                break;
            }
            let value = self.value_of(&head, depth)?;
            if KEPT.contains(&head.tag) {
                elements.push((head.tag, value));
            }
            if depth == DEPTH_MAX && head.tag == PIXELS {
                break;
            }
        }
        Ok(Dataset { elements, big_endian: self.encoding.big_endian })
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
        let is_sequence = matches!(
            head.tag,
            PLANE_POSITION
                | PLANE_ORIENTATION
                | PIXEL_MEASURES
                | PIXEL_VALUE_TRANSFORMATION
                | SHARED_GROUPS
                | FRAME_GROUPS
        );
        if is_sequence {
            let encoding = if is_unknown { Encoding::IMPLICIT_LITTLE } else { self.encoding };
            return Cursor { bytes, at: 0, encoding }.sequence(depth).map(Value::Items);
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
                    items.push(Cursor { bytes, at: 0, encoding: self.encoding }.dataset(None, depth)?);
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
