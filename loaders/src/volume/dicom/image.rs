//! One DICOM file as images: what its header says about them, checked.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::DeflateDecoder;

use super::super::Problem;
use super::super::scalar::{Scale, voxel_count};
use super::dataset::{self as tag, Dataset, Encoding, Tag, Value};

/// Deflate cannot shrink data more than this many times.
const DEFLATE_RATIO_MAX: u64 = 1032;

/// Most bytes that a deflated data set may unpack to.
const INFLATED_BYTES_MAX: u64 = 1 << 29;

/// How pixels are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Native,
    RunLength,
    Jpeg,
    JpegLs,
    Jpeg2000,
}

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

/// Where one frame lies and what its values mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    pub(crate) position: Option<[f64; 3]>,
    pub(crate) orientation: Option<[f64; 6]>,
    /// Distance between rows and between columns, mm.
    pub(crate) spacing: Option<[f64; 2]>,
    pub(crate) scale: Scale,
}

/// What the header says.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) syntax: TransferSyntax,
    pub(crate) modality: Option<String>,
    pub(crate) series_uid: String,
    pub(crate) series_number: i64,
    pub(crate) description: Option<String>,
    pub(crate) instance: i64,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) pixel: PixelFormat,
    pub(crate) thickness: Option<f64>,
    pub(crate) frames: Vec<Frame>,
}

/// The data set of a file, unpacked where it is deflated.
pub(crate) struct Part10<'a> {
    syntax: TransferSyntax,
    data: Cow<'a, [u8]>,
}

impl<'a> Part10<'a> {
    /// Finds the data set in the bytes of a file.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, Rejection> {
        if bytes.get(128..132) != Some(b"DICM") {
            let problem = Problem::new("is not DICOM (no DICM at byte 128)", "give a DICOM file or folder");
            return Err(Rejection::NotAnImage(problem));
        }
        let (meta, meta_bytes) = Dataset::parse_meta(&bytes[132..])?;
        let uid = meta.text(tag::TRANSFER_SYNTAX).ok_or_else(|| {
            Problem::new("does not name its transfer syntax (0002,0010)", "export the file again with a file header")
        })?;
        let syntax = TransferSyntax::of(&uid).ok_or_else(|| {
            let finding = format!("uses transfer syntax {uid}, which is not read here");
            Problem::new(finding, "convert it to explicit VR little endian, uncompressed")
        })?;
        let data = &bytes[132 + meta_bytes..];
        if !syntax.deflated {
            return Ok(Self { syntax, data: Cow::Borrowed(data) });
        }
        let bytes_max = (data.len() as u64).saturating_mul(DEFLATE_RATIO_MAX).min(INFLATED_BYTES_MAX);
        let mut inflated = Vec::new();
        DeflateDecoder::new(data).take(bytes_max + 1).read_to_end(&mut inflated).map_err(Problem::from)?;
        if inflated.len() as u64 > bytes_max {
            let finding = format!("unpacks to more than {bytes_max} bytes");
            return Err(Problem::new(finding, "convert it to explicit VR little endian, uncompressed").into());
        }
        Ok(Self { syntax, data: Cow::Owned(inflated) })
    }

    /// Parses the data set.
    pub(crate) fn image(&self) -> Result<Image<'_>, Rejection> {
        let dataset = Dataset::parse(&self.data, self.syntax.encoding)?;
        Image::check(dataset, self.syntax)
    }
}

/// The pixels of a file, as stored.
pub(crate) enum Pixels<'a> {
    Native(&'a [u8]),
    /// Offset table, then fragments.
    Fragments(&'a [u8], Vec<&'a [u8]>),
}

/// A file's images: its header and stored pixels.
pub(crate) struct Image<'a> {
    pub(crate) header: Header,
    pub(crate) pixels: Pixels<'a>,
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
        let pixels = match dataset.value(tag::PIXELS) {
            Some(Value::Bytes(bytes)) => Pixels::Native(bytes),
            Some(Value::Fragments(all)) => {
                let (table, fragments) = all.split_first().map_or((&[][..], &[][..]), |(table, rest)| (*table, rest));
                Pixels::Fragments(table, fragments.to_vec())
            }
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
        let photometric = dataset.text(tag::PHOTOMETRIC).unwrap_or_default();
        let samples = dataset.number(tag::SAMPLES_PER_PIXEL).unwrap_or(1);
        if samples != 1 || photometric != "MONOCHROME2" {
            let finding = format!("is an image of {samples} sample(s) per pixel, {photometric:?}; wanted MONOCHROME2");
            return Err(Rejection::NotAnImage(Problem::new(finding, "give the original series of the scan")));
        }
        if matches!(pixels, Pixels::Native(_)) != (syntax.codec == Codec::Native) {
            let finding = format!("names the transfer syntax {}, but its pixels are packed otherwise", syntax.name);
            return Err(Problem::new(finding, "export the file again").into());
        }
        let header = Header::check(&dataset, syntax, modality, &pixels)?;
        Ok(Self { header, pixels })
    }
}

impl Header {
    /// Checks sizes, pixel format and frames.
    fn check(
        dataset: &Dataset<'_>,
        syntax: TransferSyntax,
        modality: Option<String>,
        pixels: &Pixels<'_>,
    ) -> Result<Self, Problem> {
        let number = |tag| dataset.number(tag).unwrap_or(0);
        let (rows, columns) = (number(tag::ROWS), number(tag::COLUMNS));
        if rows == 0 || columns == 0 {
            let finding = format!("has an image of {rows} rows and {columns} columns");
            return Err(Problem::new(finding, "export the file again with its true size"));
        }
        let pixel = PixelFormat::check(dataset)?;
        let frames = frame_count(dataset)?;
        let count = voxel_count(&[frames, u64::from(rows), u64::from(columns)])? as u64;
        let (unit, held, want) = match pixels {
            Pixels::Native(bytes) => ("bytes", bytes.len() as u64, count * u64::from(pixel.bits_allocated / 8)),
            Pixels::Fragments(_, fragments) => ("fragments", fragments.len() as u64, frames),
        };
        if held < want {
            let finding = format!(
                "holds {held} {unit} of pixels, but {frames} frame(s) of {rows} rows and {columns} columns need {want}"
            );
            return Err(Problem::cut_short(finding));
        }
        if dataset.value(tag::MODALITY_LUT).is_some() {
            return Err(Problem::not_ours("maps its values through a Modality LUT, which is not read here"));
        }
        let integer = |tag| dataset.text(tag).and_then(|text| text.parse().ok());
        let header = Self {
            syntax,
            series_uid: series_uid(dataset)?,
            series_number: integer(tag::SERIES_NUMBER).unwrap_or(i64::MAX),
            description: dataset.text(tag::SERIES_DESCRIPTION),
            instance: integer(tag::INSTANCE_NUMBER).unwrap_or(i64::MAX),
            rows,
            columns,
            pixel,
            thickness: dataset.decimals::<1>(tag::SLICE_THICKNESS)?.map(|[thickness]| thickness),
            frames: frames_of(dataset, frames as usize, modality.as_deref() == Some("CT"))?,
            modality,
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

/// What tells this series from others; empty where the file does not say. A text that is no UID (DICOM PS3.5 §9.1)
/// was put there by something that does not keep DICOM, and then slices cannot be trusted to belong together.
fn series_uid(dataset: &Dataset<'_>) -> Result<String, Problem> {
    let uid = dataset.text(tag::SERIES_UID).unwrap_or_default();
    if uid.len() <= 64 && uid.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Ok(uid);
    }
    let finding = format!("has the SeriesInstanceUID {uid:?}, wanted at most 64 digits and dots");
    Err(Problem::new(finding, "export the series again, or de-identify it with a tool that writes valid UIDs"))
}

/// How many frames the file says it has.
fn frame_count(dataset: &Dataset<'_>) -> Result<u64, Problem> {
    let Some(text) = dataset.text(tag::FRAMES) else { return Ok(1) };
    let count = text.parse().ok().filter(|&count: &u64| count > 0);
    count.ok_or_else(|| {
        let finding = format!("has {text:?} frames, wanted a number of 1 or more");
        Problem::new(finding, "export the file again with its true number of frames")
    })
}

/// Geometry and scale of each frame: from its own functional group, the shared one, or the data set itself.
fn frames_of(dataset: &Dataset<'_>, count: usize, is_ct: bool) -> Result<Vec<Frame>, Problem> {
    let own = dataset.items(tag::FRAME_GROUPS);
    if !own.is_empty() && own.len() != count {
        let finding = format!("describes {} frames, but says it has {count}", own.len());
        return Err(Problem::new(finding, "export the file again"));
    }
    let shared = dataset.items(tag::SHARED_GROUPS).first();
    let frame = |index: usize| {
        let group = |sequence: Tag| {
            let inside = |groups: Option<&'_ Dataset<'_>>| groups.is_some_and(|g| !g.items(sequence).is_empty());
            let holder = [own.get(index), shared].into_iter().find(|groups| inside(*groups)).flatten();
            holder.and_then(|groups| groups.items(sequence).first()).unwrap_or(dataset)
        };
        // A frame of several has no place of its own in the data set's position, which is the first frame's.
        let position = match group(tag::PLANE_POSITION) {
            at if count > 1 && std::ptr::eq(at, dataset) => None,
            at => at.decimals(tag::POSITION)?,
        };
        Ok(Frame {
            position,
            orientation: group(tag::PLANE_ORIENTATION).decimals(tag::ORIENTATION)?,
            spacing: group(tag::PIXEL_MEASURES).decimals(tag::PIXEL_SPACING)?,
            scale: scale_of(group(tag::PIXEL_VALUE_TRANSFORMATION), is_ct)?,
        })
    };
    (0..count).map(frame).collect()
}

/// Rescale slope and intercept; without them, a CT's values are not Hounsfield units.
fn scale_of(dataset: &Dataset<'_>, is_ct: bool) -> Result<Scale, Problem> {
    let slope = dataset.decimals::<1>(tag::RESCALE_SLOPE)?;
    let intercept = dataset.decimals::<1>(tag::RESCALE_INTERCEPT)?;
    if is_ct && (slope.is_none() || intercept.is_none()) {
        let finding = "is a CT without RescaleSlope and RescaleIntercept, so its values are not Hounsfield units";
        return Err(Problem::new(finding, "export the series again with both"));
    }
    let ([slope], [intercept]) = (slope.unwrap_or([1.0]), intercept.unwrap_or([0.0]));
    if slope == 0.0 {
        return Err(Problem::new("has a RescaleSlope of 0", "export the series again with its true slope"));
    }
    Ok(Scale { slope, intercept })
}
