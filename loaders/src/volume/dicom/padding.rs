//! Pixels that stand for no measurement: PixelPaddingValue and PixelPaddingRangeLimit (DICOM PS3.3, C.7.5.1.1.2).

use super::super::scalar::Scale;
use super::super::window::HU_MIN;
use super::super::{Problem, finite_range, share};
use super::dataset::{self as tag, Dataset, Tag};
use super::image::PixelFormat;

/// Which of a pixel's numbers is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// The stored bits, with their sign.
    Stored,
    /// The whole container: the value has more bits than are stored, and so has the pixel that holds it.
    Container,
}

/// Stored values that are padding, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Padding {
    low: i64,
    high: i64,
    depth: Depth,
}

/// What a stored value means.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning {
    pub(crate) scale: Scale,
    pub(crate) padding: Option<Padding>,
}

/// A pixel's bits as two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredPixel {
    /// The stored bits, with their sign.
    pub(crate) stored: i64,
    /// All bits of the container, with the same sign.
    pub(crate) container: i64,
}

impl Meaning {
    /// The intensity, or NaN for padding; no other pixel is NaN, since slopes and intercepts are finite.
    pub(crate) fn intensity(self, pixel: StoredPixel) -> f32 {
        if self.padding.is_some_and(|padding| padding.holds(pixel)) {
            f32::NAN
        } else {
            self.scale.apply(pixel.stored as f64) as f32
        }
    }
}

impl Padding {
    /// The padding that the first of `holders` with a PixelPaddingValue declares.
    pub(crate) fn of<'a, 'b: 'a>(
        mut holders: impl Iterator<Item = &'a Dataset<'b>>,
        format: PixelFormat,
    ) -> Option<Self> {
        let holder = holders.find(|holder| holder.number(tag::PADDING_VALUE).is_some())?;
        let value = Bits::of(holder, tag::PADDING_VALUE, format)?;
        let limit = Bits::of(holder, tag::PADDING_RANGE_LIMIT, format).unwrap_or(value);
        let stored = [value, limit].map(|bits| bits.stored(format));
        Some(match stored {
            [Some(value), Some(limit)] => Self::between(value, limit, Depth::Stored),
            _ => Self::between(value.own(format), limit.own(format), Depth::Container),
        })
    }

    /// Both ends and what lies between them, whichever end is lower.
    fn between(value: i64, limit: i64, depth: Depth) -> Self {
        Self { low: value.min(limit), high: value.max(limit), depth }
    }

    /// Whether a pixel is padding.
    fn holds(self, pixel: StoredPixel) -> bool {
        let number = match self.depth {
            Depth::Stored => pixel.stored,
            Depth::Container => pixel.container,
        };
        (self.low..=self.high).contains(&number)
    }

    /// The values, for a note.
    fn shown(self) -> String {
        if self.low == self.high { self.low.to_string() } else { format!("{} to {}", self.low, self.high) }
    }
}

/// The bits of a padding value. Its type is US or SS, as the pixels are signed or not, but writers confuse the two:
/// only the bits are read, and the pixels' own sign decides.
#[derive(Debug, Clone, Copy)]
struct Bits {
    pattern: u32,
    width: u32,
}

impl Bits {
    fn of(holder: &Dataset<'_>, tag: Tag, format: PixelFormat) -> Option<Self> {
        match holder.long_number(tag) {
            Some(pattern) if format.bits_allocated == 32 => Some(Self { pattern, width: 32 }),
            _ => holder.number(tag).map(|pattern| Self { pattern: pattern.into(), width: 16 }),
        }
    }

    /// The number with the pixels' sign.
    fn own(self, format: PixelFormat) -> i64 {
        number(self.pattern, self.width, format.signed)
    }

    /// The number as one of the stored bits; `None` where these have no room for it, but their container has.
    fn stored(self, format: PixelFormat) -> Option<i64> {
        let bits = u32::from(format.bits_stored);
        let own = self.own(format);
        let cut = number(self.pattern, bits, format.signed);
        // A negative number may be written without the bits above the stored ones.
        let fits = own == cut || u64::from(self.pattern) < 1 << bits;
        (fits || format.bits_allocated == format.bits_stored).then_some(cut)
    }
}

/// The lowest `width` bits of `pattern` as a number.
pub(crate) fn number(pattern: u32, width: u32, signed: bool) -> i64 {
    let top = pattern << (32 - width);
    if signed { i64::from(top as i32 >> (32 - width)) } else { i64::from(top >> (32 - width)) }
}

/// Puts an intensity in the place of padding, which is NaN: air in a CT, else the lowest that was measured. Answers
/// what the user should know.
pub(crate) fn replace(voxels: &mut [f32], padding: Padding, is_ct: bool) -> Result<Option<String>, Problem> {
    let padded = voxels.iter().filter(|voxel| voxel.is_nan()).count();
    if padded == 0 {
        return Ok(None);
    }
    let shown = padding.shown();
    let [lowest, _] = finite_range(voxels).1;
    if !lowest.is_finite() {
        let finding = format!("holds nothing but padding (PixelPaddingValue {shown})");
        return Err(Problem::new(finding, "give a series that shows something"));
    }
    let value = if is_ct { HU_MIN } else { lowest };
    voxels.iter_mut().filter(|voxel| voxel.is_nan()).for_each(|voxel| *voxel = value);
    let share = share(padded, voxels.len());
    Ok(Some(format!("{share} of the voxels are padding (PixelPaddingValue {shown}) and were taken for {value}")))
}
