//! Reading f16, bf16 and f32 elements as f32.
use crate::{DType, Error, Result, View};
use half::{bf16, f16};
use std::borrow::Cow;

/// The elements of a contiguous view as f32; borrowed where they are f32 already. For vectors and small tables.
pub(crate) fn floats<'a>(view: &View<'a>) -> Result<Cow<'a, [f32]>> {
    Ok(match view.dtype() {
        DType::F32 => Cow::Borrowed(view.host::<f32>()?),
        DType::F16 => Cow::Owned(view.host::<f16>()?.iter().map(|v| v.to_f32()).collect()),
        DType::Bf16 => Cow::Owned(view.host::<bf16>()?.iter().map(|v| v.to_f32()).collect()),
        DType::U32 => {
            return Err(Error::Contract { op: "view", detail: "elements are U32, wanted a float type".into() });
        }
    })
}

/// Raw little-endian elements of a float type as f32; `u32` elements are not floats and give their bits' value.
pub(crate) fn to_f32(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    let quads = || bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    match dtype {
        DType::F32 => quads().map(f32::from_bits).collect(),
        DType::F16 => pairs().map(|bits| f16::from_bits(bits).to_f32()).collect(),
        DType::Bf16 => pairs().map(|bits| bf16::from_bits(bits).to_f32()).collect(),
        DType::U32 => quads().map(|value| value as f32).collect(),
    }
}

/// A table of any float type, whose rows are widened one at a time.
pub(crate) struct Table<'a> {
    elements: Elements<'a>,
    /// Elements from one row to the next.
    stride: usize,
}

/// From the first row's first element to the last one's last.
enum Elements<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Table<'a> {
    /// The table behind a two-dimensional view, whose columns may be cut.
    pub fn of(view: &View<'a>) -> Result<Self> {
        let elements = match view.dtype() {
            DType::F32 => Elements::F32(view.host_strided()?.0),
            DType::F16 => Elements::F16(view.host_strided()?.0),
            DType::Bf16 => Elements::Bf16(view.host_strided()?.0),
            DType::U32 => {
                return Err(Error::Contract { op: "view", detail: "elements are U32, wanted a float type".into() });
            }
        };
        Ok(Self { elements, stride: view.stride() })
    }

    /// A row, into as many values as it has.
    pub fn row_into(&self, row: usize, out: &mut [f32]) {
        let at = row * self.stride;
        match &self.elements {
            Elements::F32(all) => out.copy_from_slice(&all[at..][..out.len()]),
            Elements::F16(all) => widen(out, &all[at..][..out.len()], |v| v.to_f32()),
            Elements::Bf16(all) => widen(out, &all[at..][..out.len()], |v| v.to_f32()),
        }
    }
}

fn widen<T: Copy>(out: &mut [f32], src: &[T], to: impl Fn(T) -> f32) {
    for (out, &value) in out.iter_mut().zip(src) {
        *out = to(value);
    }
}
