//! One DICOM file as images: what its header says about them, checked.

use std::borrow::Cow;

use super::super::Problem;
use super::super::scalar::voxel_count;
use super::codec::{Codec, Promise};
use super::dataset::{self as tag, Dataset, Encoding, Value};
use super::fragments::Fragments;
use super::frames::{self, Frames};
use super::inflate::inflate;

/// A transfer syntax that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransferSyntax {
    pub(crate) name: &'static str,
    pub(crate) codec: Codec,
    pub(crate) encoding: Encoding,
    deflated: bool,
}

impl TransferSyntax {
    /// The syntax that `uid` names.
    fn of(uid: &str) -> Option<Self> {
        const BIG: Encoding = Encoding { explicit: true, big_endian: true };
        let (name, codec, encoding) = match uid.strip_prefix("1.2.840.10008.1.2")? {
            "" => ("implicit VR little endian", Codec::Native, Encoding::IMPLICIT_LITTLE),
            ".1" => ("explicit VR little endian", Codec::Native, Encoding::EXPLICIT_LITTLE),
            ".1.99" => ("deflated", Codec::Native, Encoding::EXPLICIT_LITTLE),
            ".2" => ("explicit VR big endian", Codec::Native, BIG),
            ".5" => ("RLE", Codec::RunLength, Encoding::EXPLICIT_LITTLE),
            ".4.50" => ("JPEG baseline", Codec::Jpeg, Encoding::EXPLICIT_LITTLE),
            ".4.51" => ("JPEG extended", Codec::Jpeg, Encoding::EXPLICIT_LITTLE),
            ".4.57" | ".4.70" => ("JPEG lossless", Codec::Jpeg, Encoding::EXPLICIT_LITTLE),
            ".4.80" => ("JPEG-LS lossless", Codec::JpegLs, Encoding::EXPLICIT_LITTLE),
            ".4.81" => ("JPEG-LS near-lossless", Codec::JpegLs, Encoding::EXPLICIT_LITTLE),
            ".4.90" => ("JPEG 2000 lossless", Codec::Jpeg2000, Encoding::EXPLICIT_LITTLE),
            ".4.91" => ("JPEG 2000", Codec::Jpeg2000, Encoding::EXPLICIT_LITTLE),
            _ => return None,
        };
        Some(Self { name, codec, encoding, deflated: name == "deflated" })
    }
}

/// Why a file gives no image.
#[derive(Debug)]
pub(crate) enum Rejection {
    /// Not DICOM, or DICOM that is no grey image: ignored among the files of a folder.
    NotAnImage(Problem),
    /// An image that cannot be read, or may not be trusted.
    Broken(Problem),
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Self {
        Self::Broken(problem)
    }
}

impl Rejection {
    /// What is wrong, whatever it means for the folder.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::NotAnImage(problem) | Self::Broken(problem) => problem,
        }
    }
}

/// How a pixel is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelFormat {
    pub(crate) bits_allocated: u16,
    pub(crate) bits_stored: u16,
    /// Bits below the stored ones.
    pub(crate) shift: u16,
    pub(crate) signed: bool,
}

/// What the header says.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) syntax: TransferSyntax,
    pub(crate) modality: Option<String>,
    pub(crate) identity: Identity,
    pub(crate) study_uid: Option<String>,
    pub(crate) frame_of_reference_uid: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) pixel: PixelFormat,
    pub(crate) thickness: Option<f64>,
    pub(crate) frames: Frames,
    /// Bytes of the data set, unpacked.
    pub(crate) bytes: u64,
    /// What is odd about the file and does no harm.
    pub(crate) notes: Vec<String>,
}

/// What a series is known by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SeriesKey {
    /// The largest number where the file gives none, so that it is listed last.
    pub(crate) number: i64,
    pub(crate) uid: String,
}

/// What a file is known by: copies have the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) series: SeriesKey,
    /// The largest number where the file gives none.
    pub(crate) instance: i64,
    pub(crate) instance_uid: Option<String>,
    /// The bits of the first position, to be compared alone: some writers give all slices one UID.
    place: Option<[u64; 3]>,
}

/// The data set of a file, unpacked where it is deflated.
pub(crate) struct Part10<'a> {
    /// What is wrong with the transfer syntax, where it is not read here.
    syntax: Result<TransferSyntax, Problem>,
    data: Cow<'a, [u8]>,
    /// What is odd about its envelope.
    note: Option<&'static str>,
    /// What kind of object the file says it holds.
    media_class: Option<String>,
}

/// Where the file header begins: behind the preamble and its mark, behind the mark alone, or at once.
fn start_of_meta(bytes: &[u8]) -> Option<usize> {
    const MARK: &[u8] = b"DICM";
    /// The length of the file header, or the first element that every one of them has.
    const FIRST: [&[u8]; 2] = [b"\x02\0\0\0UL\x04\0", b"\x02\0\x01\0OB\0\0"];
    if bytes.get(128..132) == Some(MARK) {
        Some(132)
    } else if bytes.starts_with(MARK) {
        Some(MARK.len())
    } else {
        FIRST.iter().any(|first| bytes.starts_with(first)).then_some(0)
    }
}

/// Whether `start`, the first bytes of a file, are those of a DICOM file, with or without its preamble.
pub(crate) fn sniff(start: &[u8]) -> bool {
    start_of_meta(start).is_some()
}

/// Whether the data set looks written otherwise than `encoding` says: the type of its first element tells. Some writers
/// name a syntax and keep the one that the data came in.
fn is_other_encoding(data: &[u8], encoding: Encoding) -> bool {
    let Some([group, 0, _, _, first, second]) = data.first_chunk::<6>() else { return false };
    let has_type = first.is_ascii_uppercase() && second.is_ascii_uppercase();
    !encoding.big_endian && (0x02..=0x20).contains(group) && has_type != encoding.explicit
}

impl<'a> Part10<'a> {
    /// Finds the data set in the bytes of a file.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Rejection> {
        let start = start_of_meta(bytes).ok_or_else(|| {
            let problem = Problem::new("is not DICOM (no DICM at byte 128)", "give a DICOM file or folder");
            Rejection::NotAnImage(problem)
        })?;
        let mut note = (start < 132).then_some("the preamble of 128 bytes before the DICOM header is missing");
        let (meta, meta_bytes) = Dataset::parse_meta(&bytes[start..])?;
        let uid = meta.text(tag::TRANSFER_SYNTAX).ok_or_else(|| {
            Problem::new("does not name its transfer syntax (0002,0010)", "export the file again with a file header")
        })?;
        let mut syntax = TransferSyntax::of(&uid).ok_or_else(|| {
            let finding = format!("uses transfer syntax {}, which is not read here", tag::shown(&uid));
            Problem::new(finding, "convert it to explicit VR little endian, uncompressed")
        });
        let packed = &bytes[start + meta_bytes..];
        let data = match &syntax {
            Ok(syntax) if syntax.deflated => Cow::Owned(inflate(packed, syntax.encoding)?),
            _ => Cow::Borrowed(packed),
        };
        if let Ok(syntax) = &mut syntax
            && is_other_encoding(&data, syntax.encoding)
        {
            syntax.encoding.explicit = !syntax.encoding.explicit;
            note = Some("elements are written with their types where the transfer syntax has none, or without");
        }
        Ok(Self { syntax, data, note, media_class: meta.text(tag::MEDIA_CLASS) })
    }

    /// The elements of the data set.
    pub(crate) fn dataset(&self) -> Result<Dataset<'_>, Rejection> {
        let syntax = self.syntax.clone()?;
        Ok(Dataset::parse(&self.data, syntax.encoding)?)
    }

    /// Whether the file lists the files of a disc.
    pub(crate) fn is_directory(&self) -> bool {
        self.media_class.as_deref() == Some("1.2.840.10008.1.3.10")
    }

    /// The data set's bytes.
    pub(crate) fn data(&self) -> &[u8] {
        &self.data
    }

    /// Parses the data set.
    pub(crate) fn image(&self) -> Result<Image<'_>, Rejection> {
        let syntax = self.syntax.clone()?;
        let dataset = self.dataset()?;
        let mut image = Image::check(dataset, syntax)?;
        image.header.bytes = self.data.len() as u64;
        image.header.notes.extend(self.note.map(str::to_owned));
        Ok(image)
    }

    /// What the file is known by, where that can be read although the file is damaged or of a kind that is not read.
    pub(crate) fn identity(&self) -> Option<Identity> {
        // Every syntax that packs pixels keeps its data set in explicit VR little endian (DICOM PS3.5, A.4).
        let encoding = self.syntax.as_ref().map_or(Encoding::EXPLICIT_LITTLE, |syntax| syntax.encoding);
        let dataset = Dataset::parse_start(&self.data, encoding).dataset;
        dataset.value(tag::SERIES_UID)?;
        Identity::read(&dataset).ok()
    }
}

impl Identity {
    fn read(dataset: &Dataset<'_>) -> Result<Self, Problem> {
        let series =
            SeriesKey { number: integer(dataset, tag::SERIES_NUMBER).unwrap_or(i64::MAX), uid: series_uid(dataset)? };
        let instance_uid = uid(dataset, tag::SOP_INSTANCE);
        let instance = integer(dataset, tag::INSTANCE_NUMBER).unwrap_or(i64::MAX);
        let place = dataset.decimals(tag::POSITION).ok().flatten().map(|place| place.map(f64::to_bits));
        Ok(Self { series, instance, instance_uid, place })
    }
}

/// The UID of `tag`, where it is one that the standard allows by its length.
fn uid(dataset: &Dataset<'_>, tag: tag::Tag) -> Option<String> {
    dataset.text(tag).filter(|uid| !uid.is_empty() && uid.len() <= UID_CHARS_MAX)
}

/// The whole number that `tag` spells.
fn integer(dataset: &Dataset<'_>, tag: tag::Tag) -> Option<i64> {
    dataset.text(tag)?.parse().ok()
}

/// The pixels of a file, as stored.
pub(crate) enum Pixels<'a> {
    Native(&'a [u8]),
    Fragments(Fragments<'a>),
}

/// A file's images: its header and stored pixels.
pub(crate) struct Image<'a> {
    pub(crate) header: Header,
    pub(crate) pixels: Pixels<'a>,
}

/// The pixel data element before its frames are known.
#[derive(Clone, Copy)]
enum Stored<'a, 'b> {
    Native(&'a [u8]),
    Fragments { table: &'a [u8], fragments: &'b [&'a [u8]] },
}

/// Modalities whose pixels, where they have any, are not a scan.
const NOT_SCANS: [&str; 14] =
    ["SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "RTIMAGE", "SR", "PR", "KO", "DOC", "ECG", "REG", "FID", "AU", "RWV"];

impl<'a> Image<'a> {
    /// Checks what a data set says about its images.
    fn check(dataset: Dataset<'a>, syntax: TransferSyntax) -> Result<Self, Rejection> {
        let modality = dataset.text(tag::MODALITY);
        let what = modality.as_deref().unwrap_or("unknown modality");
        if NOT_SCANS.contains(&what) {
            let problem = Problem::new(format!("is a DICOM {what} object, not a scan"), "give the series of the scan");
            return Err(Rejection::NotAnImage(problem));
        }
        let stored = match dataset.value(tag::PIXELS) {
            Some(Value::Bytes(bytes)) => Stored::Native(bytes),
            Some(Value::Fragments(all)) => Stored::Fragments {
                table: all.first().copied().unwrap_or_default(),
                fragments: all.get(1..).unwrap_or_default(),
            },
            _ if dataset.value(tag::FLOAT_PIXELS).or(dataset.value(tag::DOUBLE_PIXELS)).is_some() => {
                return Err(Problem::not_ours("holds floating-point pixels").into());
            }
            _ if dataset.number(tag::ROWS).is_some() => {
                let finding = format!("is a DICOM image ({what}) without pixel data (7FE0,0010)");
                return Err(Problem::cut_short(finding).into());
            }
            _ => {
                let problem = Problem::new(format!("is DICOM ({what}) without an image"), "give the series of a scan");
                return Err(Rejection::NotAnImage(problem));
            }
        };
        if dataset.text(tag::IMAGE_TYPE).is_some_and(|kind| kind.split('\\').any(|part| part.trim() == "MOSAIC")) {
            let finding = "is a mosaic (ImageType), many slices as tiles of one picture";
            return Err(Rejection::NotAnImage(Problem::new(finding, "convert it to NIfTI with dcm2niix")));
        }
        let photometric = dataset.text(tag::PHOTOMETRIC).unwrap_or_default();
        let samples = dataset.number(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
        if samples != 1 || photometric != "MONOCHROME2" {
            let finding = format!("is an image of {samples} sample(s) per pixel, {photometric:?}; wanted MONOCHROME2");
            return Err(Rejection::NotAnImage(Problem::new(finding, "give the original series of the scan")));
        }
        if matches!(stored, Stored::Native(_)) != (syntax.codec == Codec::Native) {
            let finding = format!("names the transfer syntax {}, but its pixels are packed otherwise", syntax.name);
            return Err(Problem::new(finding, "export the file again").into());
        }
        let header = Header::check(&dataset, syntax, modality, &stored)?;
        let pixels = match stored {
            Stored::Native(bytes) => Pixels::Native(bytes),
            Stored::Fragments { table, fragments } => {
                let marks = syntax.codec.start_marks();
                Pixels::Fragments(Fragments::share_out(table, fragments.to_vec(), header.frames.len(), marks)?)
            }
        };
        Ok(Self { header, pixels })
    }
}

impl Header {
    /// Checks sizes, pixel format and frames.
    fn check(
        dataset: &Dataset<'_>,
        syntax: TransferSyntax,
        modality: Option<String>,
        stored: &Stored<'_, '_>,
    ) -> Result<Self, Problem> {
        let number = |tag| dataset.number(tag).unwrap_or(0);
        let rows = number(tag::ROWS);
        let columns = number(tag::COLUMNS);
        if rows == 0 || columns == 0 {
            let finding = format!("has an image of {rows} rows and {columns} columns");
            return Err(Problem::new(finding, "export the file again with its true size"));
        }
        let pixel = PixelFormat::check(dataset)?;
        let frames = frames::count(dataset)?;
        let count = voxel_count(&[frames, u64::from(rows), u64::from(columns)])? as u64;
        let pixel_bytes = u64::from(pixel.bits_allocated / 8);
        let mut notes = Vec::new();
        let lacks = |held: u64, unit: &str, want: u64| {
            let frames = format!("{frames} frame(s) of {rows} rows and {columns} columns");
            Err(Problem::cut_short(format!("holds {held} {unit} of pixels, but {frames} need {want}")))
        };
        match stored {
            Stored::Native(bytes) if (bytes.len() as u64) < count * pixel_bytes => {
                return lacks(bytes.len() as u64, "bytes", count * pixel_bytes);
            }
            Stored::Native(bytes) => {
                // An odd number of bytes has one more.
                let more = bytes.len() as u64 - count * pixel_bytes;
                if more > 1 {
                    notes.push(format!("{more} bytes of pixels more than {frames} frame(s) need were ignored"));
                }
            }
            Stored::Fragments { fragments, .. } if (fragments.len() as u64) < frames => {
                return lacks(fragments.len() as u64, "fragments", frames);
            }
            Stored::Fragments { fragments, .. } => {
                let packed_bytes = fragments.iter().map(|fragment| fragment.len() as u64).sum();
                let promise = Promise { frames, frame_pixels: count / frames, pixel_bytes, packed_bytes };
                syntax.codec.check_promise(&promise)?;
            }
        }
        if dataset.value(tag::MODALITY_LUT).is_some() {
            return Err(Problem::not_ours("maps its values through a Modality LUT, which is not read here"));
        }
        let header = Self {
            syntax,
            identity: Identity::read(dataset)?,
            study_uid: uid(dataset, tag::STUDY_UID),
            frame_of_reference_uid: uid(dataset, tag::FRAME_OF_REFERENCE),
            description: dataset.text(tag::SERIES_DESCRIPTION),
            rows,
            columns,
            pixel,
            thickness: dataset.decimals::<1>(tag::SLICE_THICKNESS)?.map(|[thickness]| thickness),
            frames: Frames::read(dataset, frames as usize, pixel, modality.as_deref() == Some("CT"))?,
            modality,
            bytes: 0,
            notes,
        };
        Ok(header)
    }
}

impl PixelFormat {
    /// Checks that the bits fit each other.
    fn check(dataset: &Dataset<'_>) -> Result<Self, Problem> {
        let allocated = dataset.number(tag::BITS_ALLOCATED).unwrap_or(0);
        let stored = dataset.number(tag::BITS_STORED).unwrap_or(allocated);
        let high = dataset.number(tag::HIGH_BIT).unwrap_or(stored.wrapping_sub(1));
        let fits = matches!(allocated, 8 | 16 | 32)
            && (1..=allocated).contains(&stored)
            && u32::from(high) + 1 >= u32::from(stored)
            && high < allocated;
        if !fits {
            let finding = format!("stores {stored} of {allocated} bits with high bit {high}, wanted 8, 16 or 32 bits");
            return Err(Problem::new(finding, "export the file again with 16 bits per pixel"));
        }
        let signed = dataset.number(tag::PIXEL_REPRESENTATION).unwrap_or(0) == 1;
        Ok(Self { bits_allocated: allocated, bits_stored: stored, shift: high + 1 - stored, signed })
    }
}

/// Longest UID of the standard.
const UID_CHARS_MAX: usize = 64;

/// What tells this series from others; empty where the file does not say. Whole public data sets have texts there that
/// are no UIDs: all that counts is whether they are the same.
fn series_uid(dataset: &Dataset<'_>) -> Result<String, Problem> {
    let uid = dataset.text(tag::SERIES_UID).unwrap_or_default();
    if uid.len() <= UID_CHARS_MAX {
        return Ok(uid);
    }
    let finding = format!("has the SeriesInstanceUID {:?}, wanted at most 64 characters", tag::shown(&uid));
    Err(Problem::new(finding, "export the series again, or de-identify it with a tool that writes valid UIDs"))
}
